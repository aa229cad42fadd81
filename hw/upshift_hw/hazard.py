"""Finds beats that would read a weight whose update is still in the pipeline."""

from functools import reduce
from operator import or_

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig


class HazardTracker(wiring.Component):
    """Compare a beat with those that started in the last `distance` - 1 clocks.

    Rows and lanes are compared while the beat is the next one, so that registers alone say
    whether it has to wait once its turn has come.

    Parameters
    ----------
    config : UnitConfig
    distance : int
        Clocks from a beat to the first beat that may read what it wrote; 1 for none to wait.

    Members
    -------
    next_row, next_mask : In
        The beat after the current one, and the lanes it touches.
    row, mask : In
        The current beat.
    start : In
        The current beat starts.
    move : In
        The next beat becomes the current one.
    hazard : Out
        A lane of the current beat's row is in flight.
    """

    def __init__(self, config: UnitConfig, *, distance: int):
        self.config = config
        self.distance = distance
        row = layout.row_bits(config)
        super().__init__(
            {
                "next_row": In(row),
                "next_mask": In(config.lanes),
                "row": In(row),
                "mask": In(config.lanes),
                "start": In(1),
                "move": In(1),
                "hazard": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # Whether the next beat meets the one that started some clocks before it could.
        meets = []
        row, mask = self.row, self.mask
        for age in range(1, self.distance):
            meets.append((row == self.next_row) & (mask & self.next_mask).any())
            past_row = Signal.like(self.row, name=f"row_{age}_ago")
            past_mask = Signal.like(self.mask, name=f"mask_{age}_ago")
            m.d.sync += [past_row.eq(row), past_mask.eq(mask)]
            if age == 1:
                with m.If(~self.start):
                    m.d.sync += past_mask.eq(0)
            row, mask = past_row, past_mask
        if meets:
            meets[0] &= self.start

        # Wait n: the current beat waits for n clocks at least. What it meets at age n lets it
        # start at age `distance`.
        later = Const(0)
        for clocks in reversed(range(1, self.distance)):
            wait = Signal(name=f"wait_{clocks}")
            m.d.sync += wait.eq(Mux(self.move, reduce(or_, meets[: self.distance - clocks]), later))
            later = wait
        m.d.comb += self.hazard.eq(later)
        return m
