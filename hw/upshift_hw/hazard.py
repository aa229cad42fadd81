"""Finds beats that would read a weight whose update is still in the pipeline."""

from functools import reduce
from operator import or_

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig


class HazardTracker(wiring.Component):
    """Compare a beat with those that start in the `distance` - 1 clocks before it may.

    A beat is compared once, when it leaves the generator of beats: with the next beat, the
    current one, and those that have started. From there on, what was found moves along with the
    beats, so that registers alone say whether the current beat has to wait.

    Parameters
    ----------
    config : UnitConfig
    distance : int
        Clocks from a beat to the first beat that may read what it wrote; 1 for none to wait.

    Members
    -------
    new_row, new_mask : In
        The beat that the generator gives, and the lanes it touches.
    next_present, next_row, next_mask : In
        The next beat.
    row, mask : In
        The current beat.
    room : In
        No spare beat is there: the generator's goes on, as the next or the spare one. Otherwise
        the spare one is what may become the next.
    pull : In
        Another beat becomes the next.
    move : In
        The next beat becomes the current one.
    start : In
        The current beat starts.
    coming : Out
        What `hazard` will be in the next clock.
    hazard : Out
        A lane of the current beat's row is in flight.
    """

    def __init__(self, config: UnitConfig, *, distance: int):
        self.config = config
        self.distance = distance
        row = layout.row_bits(config)
        super().__init__(
            {
                "new_row": In(row),
                "new_mask": In(config.lanes),
                "next_present": In(1),
                "next_row": In(row),
                "next_mask": In(config.lanes),
                "row": In(row),
                "mask": In(config.lanes),
                "room": In(1),
                "pull": In(1),
                "move": In(1),
                "start": In(1),
                "coming": Out(1),
                "hazard": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        if self.distance == 1:
            return m
        meets = self._follow(m, self._compare(m))

        # Wait n: the current beat waits for n clocks at least. What it meets at age n lets it
        # start at age `distance`.
        wait = Const(0)
        for clocks in reversed(range(1, self.distance)):
            found = reduce(or_, meets[: self.distance - clocks])
            coming = Mux(self.move, found, wait)
            wait = Signal(name=f"wait_{clocks}")
            m.d.sync += wait.eq(coming)
        m.d.comb += [self.coming.eq(coming), self.hazard.eq(wait)]
        return m

    def _compare(self, m):
        """Return whether the new beat meets the next one, the current one and those before it."""
        ahead = [(self.next_row, self.next_mask), (self.row, self.mask)]
        for age in range(1, self.distance - 2):
            row, mask = ahead[-1]
            past_row = Signal.like(self.row, name=f"row_{age}_ago")
            past_mask = Signal.like(self.mask, name=f"mask_{age}_ago")
            m.d.sync += [past_row.eq(row), past_mask.eq(mask)]
            if age == 1:
                with m.If(~self.start):
                    m.d.sync += past_mask.eq(0)
            ahead.append((past_row, past_mask))
        return [(row == self.new_row) & (mask & self.new_mask).any() for row, mask in ahead]

    def _follow(self, m, new):
        """Return whether the next beat meets the current one and those before it, by age.

        Nothing starts without a move, so a beat that stays where it is meets nothing of age 1.
        """
        # A spare beat is there only with a next and a current one, which stay until it leaves.
        spare = [Signal(name=f"spare_meets_{age}") for age in range(len(new))]
        last = [Mux(self.room, *both) for both in zip(new, spare, strict=True)]
        for age, register in enumerate(spare):
            if age != 2:
                m.d.sync += register.eq(last[age if age < 2 else age - 1])

        # Each is written as what was just found, or what is known: the former comes late.
        enters, follows = Signal(), Signal()
        m.d.comb += [
            enters.eq(self.pull & self.room),
            follows.eq(self.pull & ~self.room),
        ]
        meets = [Signal(name=f"meets_{age}") for age in range(1, self.distance)]
        moved = Signal()  # the current beat, which was the next one
        stayed = Signal()  # the current beat, while there was no next one
        known = [Mux(self.pull, follows & spare[0], moved | stayed)]
        m.d.sync += [
            moved.eq((new[0] & enters & self.next_present) | known[0]),
            stayed.eq(new[1] & enters & ~self.move),
        ]
        m.d.comb += meets[0].eq(moved | stayed)
        for age in range(1, self.distance - 1):
            before = meets[age - 1] if age > 1 else 0
            late = self.start if age == 1 else enters
            found = new[age] if age < len(new) else 0
            was = spare[age] if age < len(new) else 0
            hold = Mux(self.pull, follows & was, before)
            m.d.sync += meets[age].eq((found & late & self.room) | hold)
        return meets
