"""The report collector: exact sums, commands in order, never more than there is room for."""

import dataclasses

import pytest

from upshift import layout
from upshift.config import UnitConfig
from upshift.formats import Fixed, bfloat16
from upshift_hw.report import ReportCollector, popcount

CONFIG = UnitConfig(lanes=4, depth=64)
SLOTS = 4


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
    """Feeds beats and takes reports, one clock at a time."""

    def __init__(self, collector, context):
        self.collector, self.context = collector, context
        self.fields = layout.report(collector.config)
        self.reports = []
        self.clock_of_report = []
        self.known = {"elements": 0, "refusal": 0}
        self.clocks = 0
        self.free = True

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
        free, self.free = self.free, context.get(c.free)  # told a clock ahead
        await context.tick()
        self.clocks += 1
        return free


@pytest.mark.parametrize("pauses", [False, True], ids=["at full rate", "with pauses"])
@pytest.mark.parametrize(
    ("gradient", "counted"),
    [
        (Fixed(16, 12), ["nonzero", "saturated"]),
        (bfloat16, ["nonzero", "saturated", "nonfinite"]),
    ],
    ids=["fixed", "floating"],
)
def test_random_bursts(run, rng, gradient, counted, pauses):
    config = dataclasses.replace(CONFIG, gradient=gradient)
    collector = ReportCollector(config, slots=SLOTS)
    bursts = [random_burst(rng, counted) for _ in range(150)]

    async def testbench(context, reset):
        watch = Watch(collector, context)

        def ready():
            return not pauses or rng.random() < 0.1

        for start, beats in bursts:
            while not watch.free:
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
        assert watch.free

    run(collector, testbench)


def test_a_started_command_reserves_its_slot_until_its_report_is_offered(run):
    collector = ReportCollector(CONFIG, slots=SLOTS)
    start = {"elements": 1, "refusal": 0}
    beat = {"first": 1, "last": 1, "needed_valid": 0}

    async def testbench(context, reset):
        watch = Watch(collector, context)
        for n in range(SLOTS):
            assert await watch.clock(start=start, ready=False), n
        for _ in range(20):
            assert not await watch.clock(ready=False)
        assert not await watch.clock(beat, ready=False)
        for _ in range(20):
            await watch.clock(ready=False)
        assert await watch.clock(start=start, ready=False), "the one that is offered has left"
        for _ in range(SLOTS):
            assert not await watch.clock(beat, ready=False)
        for _ in range(20):
            assert not await watch.clock(ready=False)
        await watch.clock(ready=True)  # one report leaves, another is offered
        await watch.clock(ready=False)
        for _ in range(5):
            assert await watch.clock(ready=False)
        assert len(watch.reports) == 1

    run(collector, testbench)


def test_popcount():
    for bits in range(1, 9):
        for word in range(1 << bits):
            assert popcount(word >> bit & 1 for bit in range(bits)) == word.bit_count()
