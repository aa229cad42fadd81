"""The report collector: exact sums, commands in order, never more than there is room for."""

import pytest

from upshift import layout
from upshift.config import UnitConfig
from upshift_hw.report import ReportCollector, popcount

CONFIG = UnitConfig(lanes=4, depth=64)
SLOTS = 4


def random_burst(rng):
    """Beats of one burst, as port values."""
    beats = []
    count = int(rng.integers(1, 6))
    refusal = int(rng.integers(1, 32)) if rng.random() < 0.2 else 0
    for n in range(count):
        mask = 0 if refusal else int(rng.integers(16))
        beats.append(
            {
                "beat": {
                    "row": 0,
                    "mask": mask,
                    "first": int(n == 0),
                    "last": int(n == count - 1),
                    "refusal": refusal,
                },
                "nonzero": int(rng.integers(16)),
                "saturated": int(rng.integers(16)),
                "needed_valid": int(mask and rng.random() < 0.6),
                "needed": int(rng.integers(-3, 44)),
            }
        )
    return beats


def expected(beats):
    masks = [beat["beat"]["mask"] for beat in beats]
    found = [beat["needed"] for beat in beats if beat["needed_valid"]]
    return {
        "elements": sum(mask.bit_count() for mask in masks),
        "nonzero": sum((b["nonzero"] & m).bit_count() for b, m in zip(beats, masks, strict=True)),
        "saturated": sum(
            (b["saturated"] & m).bit_count() for b, m in zip(beats, masks, strict=True)
        ),
        "nonfinite": 0,
        "needed_valid": int(bool(found)),
        "needed": min(found, default=None),
        "refusal": beats[0]["beat"]["refusal"],
    }


class Watch:
    """Feeds beats and takes reports, one clock at a time."""

    def __init__(self, collector, context):
        self.collector, self.context = collector, context
        self.fields = layout.report(CONFIG)
        self.reports = []
        self.clock_of_report = []
        self.clocks = 0

    async def clock(self, beat=None, *, started=False, ready=True):
        assert self.clocks < 20000, "stuck"
        c, context = self.collector, self.context
        context.set(c.started, started)
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
        free = context.get(c.free)
        await context.tick()
        self.clocks += 1
        return free


@pytest.mark.parametrize("pauses", [False, True], ids=["at full rate", "with pauses"])
def test_random_bursts(run, rng, pauses):
    collector = ReportCollector(CONFIG, slots=SLOTS)
    bursts = [random_burst(rng) for _ in range(150)]

    async def testbench(context, reset):
        watch = Watch(collector, context)

        def ready():
            return not pauses or rng.random() < 0.1

        for beats in bursts:
            while not context.get(collector.free):
                await watch.clock(ready=ready())
            await watch.clock(started=True, ready=ready())
            for beat in beats:
                while pauses and rng.random() < 0.2:
                    await watch.clock(ready=ready())
                await watch.clock(beat, ready=ready())
        while len(watch.reports) < len(bursts):
            await watch.clock()
        assert watch.reports == [expected(beats) for beats in bursts]
        for _ in range(10):
            await watch.clock()
        assert len(watch.reports) == len(bursts)
        assert context.get(collector.free)

    run(collector, testbench)


def test_a_started_command_reserves_its_slot_until_its_report_is_taken(run):
    collector = ReportCollector(CONFIG, slots=SLOTS)
    beat = {"beat": {"mask": 1, "first": 1, "last": 1}, "needed_valid": 0}

    async def testbench(context, reset):
        watch = Watch(collector, context)
        for n in range(SLOTS):
            assert await watch.clock(started=True, ready=False), n
        assert not await watch.clock(ready=False)
        for _ in range(SLOTS):
            assert not await watch.clock(beat, ready=False)
        for _ in range(20):
            assert not await watch.clock(ready=False)
        assert not await watch.clock(ready=True)  # one report leaves with this clock
        for _ in range(5):
            assert await watch.clock(ready=False)
        assert len(watch.reports) == 1
        assert await watch.clock(started=True, ready=True)  # one leaves, one comes
        assert await watch.clock(ready=False)

    run(collector, testbench)


def test_popcount():
    for bits in range(1, 9):
        for word in range(1 << bits):
            assert popcount(word >> bit & 1 for bit in range(bits)) == word.bit_count()
