"""Finds beats that would read a weight whose update is still in the pipeline."""

from functools import reduce
from operator import or_

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig


class HazardTracker(wiring.Component):
    """Compare a beat with those that started in the last `distance` - 1 clocks.

    Parameters
    ----------
    config : UnitConfig
    distance : int
        Clocks from a beat to the first beat that may read what it wrote, 2 or more.

    Members
    -------
    row, mask : In
        The beat that would start in this clock, and the lanes it touches.
    start : In
        It does start.
    hazard : Out
        A lane of this row is in flight. Does not depend on `start`.
    """

    def __init__(self, config: UnitConfig, *, distance: int):
        self.config = config
        self.distance = distance
        super().__init__(
            {
                "row": In(layout.row_bits(config)),
                "mask": In(config.lanes),
                "start": In(1),
                "hazard": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        in_flight = []
        row, mask = self.row, self.mask & self.start.replicate(self.config.lanes)
        for age in range(1, self.distance):
            past_row = Signal.like(self.row, name=f"row_{age}_ago")
            past_mask = Signal.like(self.mask, name=f"mask_{age}_ago")
            m.d.sync += [past_row.eq(row), past_mask.eq(mask)]
            in_flight.append((past_row == self.row) & (past_mask & self.mask).any())
            row, mask = past_row, past_mask
        m.d.comb += self.hazard.eq(reduce(or_, in_flight))
        return m
