"""The queue for rows that leave: reserved places, and nothing lost behind a reader that pauses."""

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from upshift_hw.delay import later
from upshift_hw.row_queue import RowQueue

SLOTS = 16


class Line(wiring.Component):
    """A pipeline of numbered beats in front of a queue; beats start while there is room."""

    def __init__(self, delay):
        self.queue = RowQueue(16, delay=delay, slots=SLOTS)
        super().__init__(
            {"wanted": In(1), "started": Out(1), "empty": Out(1), "o": Out(self.queue.o.signature)}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = self.queue
        number = Signal(16)
        m.d.sync += number.eq(number + self.started)
        m.d.comb += [
            self.started.eq(self.wanted & queue.room),
            queue.start.eq(self.started),
            queue.row.eq(later(m, number, queue.delay, "number")),
            self.empty.eq(queue.empty),
        ]
        wiring.connect(m, wiring.flipped(self.o), queue.o)
        return m


def play(run, delay, wanted, ready):
    """Clocks in which beats started, and (clock, number) of rows taken; all rows come out."""
    line = Line(delay)
    starts, rows = [], []

    async def testbench(context, reset):
        for clock, (want, take) in enumerate(zip(wanted, ready, strict=True)):
            context.set(line.wanted, want)
            context.set(line.o.ready, take)
            if context.get(line.started):
                starts.append(clock)
            if take and context.get(line.o.valid):
                rows.append((clock, context.get(line.o.payload)))
            await context.tick()
        assert context.get(line.empty)

    run(line, testbench)
    assert [number for _, number in rows] == list(range(len(starts)))
    return starts, [clock for clock, _ in rows]


@pytest.mark.parametrize("delay", [1, 5, SLOTS - 5])
def test_one_row_per_clock_passes_after_the_documented_latency(run, delay):
    starts, rows = play(run, delay, [1] * 60 + [0] * 40, [1] * 100)
    assert starts == list(range(60))
    assert rows == [clock + delay + RowQueue.latency for clock in starts]


def test_beyond_the_documented_delay_the_rate_falls(run):
    starts, _ = play(run, SLOTS - 4, [1] * 60 + [0] * 40, [1] * 100)
    assert len(starts) < 60


@pytest.mark.parametrize("delay", [1, 4, 8, 14])
def test_no_row_is_lost_behind_a_reader_that_pauses(run, rng, delay):
    wanted = [*(rng.random(600) < 0.8).tolist(), *[False] * 100]
    ready = [bool(x) for n in range(12) for x in rng.random(50) < (0.1, 0.5, 0.9)[n % 3]]
    starts, _ = play(run, delay, wanted, [*ready, *[True] * 100])
    assert len(starts) > 100


def test_all_places_are_used_and_no_more(run):
    starts, rows = play(run, 5, [1] * 100 + [0] * 100, [0] * 100 + [1] * 100)
    before = [clock for clock in starts if clock < 100]
    assert len(before) == SLOTS
    assert rows[:SLOTS] == list(range(100, 100 + SLOTS))
