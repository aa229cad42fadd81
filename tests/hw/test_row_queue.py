"""The queue for rows that leave: reserved places, and nothing lost behind a reader that pauses."""

import pytest
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.dp16kd_model import Model
from upshift_hw import dp16kd
from upshift_hw.delay import later
from upshift_hw.row_queue import RowQueue

QUARTER = 7  # of a queue for short delays


class Line(wiring.Component):
    """A pipeline of numbered beats in front of a queue; beats start in time, or just in time."""

    def __init__(self, delay, ram, late):
        self.queue = RowQueue(16, delay=delay, ram=ram)
        self.late = self.queue.margin if late else 0
        super().__init__(
            {"wanted": In(1), "started": Out(1), "empty": Out(1), "o": Out(self.queue.o.signature)}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = self.queue
        number = Signal(16)
        room = [later(m, queue.room, n, f"room_{n}") for n in range(self.late + 1)]
        m.d.sync += number.eq(number + self.started)
        m.d.comb += [
            self.started.eq(self.wanted & Cat(room).any()),
            queue.start.eq(self.started),
            queue.row.eq(later(m, number, queue.delay, "number")),
            self.empty.eq(queue.empty),
        ]
        wiring.connect(m, wiring.flipped(self.o), queue.o)
        return m


@pytest.fixture(params=["inferred", "dp16kd"])
def ram(request, monkeypatch):
    """Each body of the queue, with a model of the block where there is one."""
    monkeypatch.setattr(dp16kd, "Instance", Model)
    return request.param


def play(run, delay, ram, wanted, ready, *, late=False):
    """Clocks in which beats started, and (clock, number) of rows taken; all rows come out."""
    line = Line(delay, ram, late)
    starts, rows = [], []

    async def testbench(context, reset):
        for clock, (want, take) in enumerate(zip(wanted, ready, strict=True)):
            context.set(line.wanted, want)
            context.set(line.o.ready, take)
            if sum(start <= clock - RowQueue.lag for start in starts) > len(rows):
                assert not context.get(line.empty)
            if context.get(line.started):
                starts.append(clock)
            if take and context.get(line.o.valid):
                rows.append((clock, context.get(line.o.payload)))
            await context.tick()
        assert context.get(line.empty)

    run(line, testbench)
    assert [number for _, number in rows] == list(range(len(starts)))
    return starts, [clock for clock, _ in rows]


DELAYS = [1, 6, 7, 10, 14]


@pytest.mark.parametrize("delay", DELAYS)
def test_one_row_per_clock_passes_after_the_documented_latency(run, delay, ram):
    starts, rows = play(run, delay, ram, [1] * 90 + [0] * 40, [1] * 130)
    assert starts == list(range(90))
    assert rows == [clock + delay + RowQueue.latency for clock in starts]


@pytest.mark.parametrize("late", [False, True], ids=["in time", "as late as allowed"])
@pytest.mark.parametrize("delay", DELAYS)
def test_no_row_is_lost_behind_a_reader_that_pauses(run, rng, delay, late, ram):
    wanted = [*(rng.random(1200) < 0.9).tolist(), *[False] * 200]
    ready = [bool(x) for n in range(24) for x in rng.random(50) < (0.02, 0.5, 0.95)[n % 3]]
    starts, _ = play(run, delay, ram, wanted, [*ready, *[True] * 200], late=late)
    assert len(starts) > 300


@pytest.mark.parametrize("before", range(0, 30, 3))
def test_so_many_rows_wait_as_is_documented_and_leave_without_a_gap(run, before, ram):
    """Wherever in the ring the first of them is."""
    wanted = [1] * before + [0] * 20 + [1] * 160 + [0] * 40
    starts, rows = play(run, 5, ram, wanted, [1] * (before + 20) + [0] * 100 + [1] * 100)
    again = before + 120
    waiting = sum(clock < again for clock in starts) - before
    assert QUARTER + 2 < waiting <= 2 * QUARTER + 2 + RowQueue.lag
    left = rows[before:]
    assert len(left) > 60
    assert left == list(range(again, again + len(left)))
