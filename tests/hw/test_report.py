"""The report collector: exact sums, commands in order, never more than there is room for."""

import dataclasses
from types import SimpleNamespace

import pytest
from amaranth.hdl import Fragment, Module

from hw.dp16kd_model import Model
from upshift import layout
from upshift.config import UnitConfig
from upshift.formats import Fixed, bfloat16
from upshift_hw import dp16kd
from upshift_hw.report import ReportCollector

CONFIG = UnitConfig(lanes=4, depth=64)
QUARTER = 7


def random_burst(rng, counted):
    """What is known of a burst at its start, and its beats, as port values.

    `counted` are counters of lanes.
    """
    beats = []
    count = int(rng.integers(1, 6))
    for n in range(count):
        beats.append(
            {
                "first": int(n == 0),
                "last": int(n == count - 1),
                **{name: int(rng.integers(16)) for name in counted},
                "needed_valid": int(rng.random() < 0.6),
                "needed": int(rng.integers(-3, 44)),
            }
        )
    return {"elements": int(rng.integers(65)), "refusal": int(rng.integers(32))}, beats


def expected(start, beats):
    found = [beat["needed"] for beat in beats if beat["needed_valid"]]
    return {
        **start,
        **{
            name: sum(beat.get(name, 0).bit_count() for beat in beats)
            for name in ("nonzero", "saturated", "nonfinite")
        },
        "needed_valid": int(bool(found)),
        "needed": min(found, default=None),
    }


class Watch:
    """Feeds beats and takes reports, one clock at a time.

    Commands start some clocks after they could, as they do behind the registers of a sequencer.
    """

    def __init__(self, collector, context, late=1):
        self.collector, self.context = collector, context
        self.fields = layout.report(collector.config)
        self.reports = []
        self.clock_of_report = []
        self.known = {"elements": 0, "refusal": 0}
        self.clocks = 0
        self.free = [False] * late

    async def clock(self, beat=None, *, start=None, ready=True):
        assert self.clocks < 20000, "stuck"
        c, context = self.collector, self.context
        context.set(c.started, start is not None)
        context.set(c.elements, self.known["elements"])
        context.set(c.refusal, self.known["refusal"])
        self.known = start or self.known
        context.set(c.valid, beat is not None)
        for name, value in (beat or {}).items():
            context.set(getattr(c, name), value)
        context.set(c.o.ready, ready)
        if ready and context.get(c.o.valid):
            report = layout.unpack(self.fields, context.get(c.o.payload.as_value()))
            if not report["needed_valid"]:
                report["needed"] = None
            self.reports.append(report)
            self.clock_of_report.append(self.clocks)
        self.free = [*self.free[1:], bool(context.get(c.free))]
        await context.tick()
        self.clocks += 1

    @property
    def may_start(self):
        return self.free[0]


@pytest.fixture(params=["inferred", "dp16kd"])
def ram(request, monkeypatch):
    """Each body of the queue, with a model of the block where there is one."""
    monkeypatch.setattr(dp16kd, "Instance", Model)
    return request.param


@pytest.mark.parametrize("pauses", [False, True], ids=["at full rate", "with pauses"])
@pytest.mark.parametrize("gradient", [Fixed(16, 12), bfloat16], ids=["fixed", "floating"])
def test_random_bursts(run, rng, gradient, pauses, ram):
    counted = ["nonzero", "saturated"] + ["nonfinite"] * (gradient is bfloat16)
    config = dataclasses.replace(CONFIG, gradient=gradient)
    collector = ReportCollector(config, quarter=QUARTER, ram=ram)
    bursts = [random_burst(rng, counted) for _ in range(150)]

    async def testbench(context, reset):
        watch = Watch(collector, context, late=collector.margin)

        def ready():
            return not pauses or rng.random() < 0.1

        for start, beats in bursts:
            while not watch.may_start:
                await watch.clock(ready=ready())
            await watch.clock(start=start, ready=ready())
            for beat in beats:
                while pauses and rng.random() < 0.2:
                    await watch.clock(ready=ready())
                await watch.clock(beat, ready=ready())
        while len(watch.reports) < len(bursts):
            await watch.clock()
        assert watch.reports == [expected(*burst) for burst in bursts]
        for _ in range(10):
            await watch.clock()
        assert len(watch.reports) == len(bursts)
        assert watch.may_start

    run(collector, testbench)


def one_beat(n):
    """A burst of one beat that differs from those around it."""
    start = {"elements": n % 60, "refusal": n % 31}
    return start, {
        "first": 1,
        "last": 1,
        "nonzero": n % 16,
        "saturated": n // 3 % 16,
        "needed_valid": 1,
        "needed": n % 40,
    }


def test_no_report_is_lost_however_long_none_is_taken(run, rng, ram):
    """Commands of one beat start in every clock in which they may, and as late as allowed."""
    collector = ReportCollector(CONFIG, quarter=QUARTER, ram=ram)
    most = 0

    async def testbench(context, reset):
        nonlocal most
        watch = Watch(collector, context, late=collector.margin)
        beats, started, ready = [None] * int(rng.integers(1, 9)), [], True
        while len(started) < 600 or any(beats):
            # The places of what is read next and of what starts differ by all there can be.
            ready = rng.random() < (0.97 if ready else 0.02)
            start = beat = None
            if watch.may_start and len(started) < 600:
                start, beat = one_beat(len(started))
                started.append((start, [beat]))
            beats.append(beat)
            await watch.clock(beats.pop(0), start=start, ready=ready)
            most = max(most, len(started) - len(watch.reports))
        for _ in range(5 * QUARTER + 20):
            await watch.clock()
        assert watch.reports == [expected(*burst) for burst in started]

    run(collector, testbench)
    # Two reports are behind the queue.
    assert 2 * QUARTER < most <= 3 * QUARTER + 1


def test_commands_of_one_beat_keep_the_full_rate(run, ram):
    collector = ReportCollector(CONFIG, quarter=31, ram=ram)
    latency = ReportCollector.latency(CONFIG)
    delay = collector.quarter - latency

    async def testbench(context, reset):
        watch = Watch(collector, context, late=collector.margin)
        for _ in range(collector.margin + 2):
            await watch.clock()
        begin = watch.clocks
        starts, beats = zip(*map(one_beat, range(300)), strict=True)
        for n in range(300 + delay):
            assert watch.may_start
            beat = beats[n - delay] if n >= delay else None
            await watch.clock(beat, start=starts[n] if n < 300 else None)
        for _ in range(latency + 1):
            await watch.clock()
        assert watch.reports == [
            expected(start, [beat]) for start, beat in zip(starts, beats, strict=True)
        ]
        first = begin + delay + latency + 1  # what was read is in the output register
        assert watch.clock_of_report == list(range(first, first + 300))

    run(collector, testbench)


def test_a_platform_with_such_blocks_gets_them(monkeypatch):
    placed = []
    monkeypatch.setattr(dp16kd, "Instance", lambda name, **options: placed.append(name) or Module())
    for device, blocks in (("LFE5U-25F", 3), ("iCE40HX8K", 0), (None, 0)):
        placed.clear()
        Fragment.get(ReportCollector(CONFIG), device and SimpleNamespace(device=device)).prepare()
        assert placed == ["DP16KD"] * blocks
