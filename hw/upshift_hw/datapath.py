"""The datapath: beats of gradients and weights in, new weights and reports out, never stalled.

    clock 0   a beat starts
          1   gradients are aligned (q_min: masked and merged)
          2   steps are rounded, weights are read
          3   steps are subtracted
          4   weights are clamped
          5   weights are written, lanes are counted
          6-8 counts are added up and queued
          9   the report is offered

Whether the weights come from a memory on chip or from outside is not known here: they are asked
for `read_stage` clocks after the beat and expected one clock later. They are read late, so that
few clocks lie between a beat and the first beat that may read what it wrote.
"""

from functools import reduce
from operator import or_

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig
from upshift_hw.align import FixedAlign, require_fixed
from upshift_hw.burst import beat_layout
from upshift_hw.lane import Lane
from upshift_hw.needed import NeededResolution
from upshift_hw.report import ReportCollector
from upshift_hw.shapes import layout_of, shape_of


class Datapath(wiring.Component):
    """Update one beat of weights per clock and count what happened.

    Parameters
    ----------
    config : UnitConfig

    Attributes
    ----------
    read_stage : int
        Clocks from a beat to `read_row`.
    latency : int
        Clocks from a beat to `write_row`.

    Members
    -------
    valid, beat, gradients, rate, resolution : In
        A beat starts in this clock.
    read_valid, read_row : Out
        This row of weights is wanted in the next clock.
    weights : In
        The row asked for in the clock before.
    write_row, write_mask, new_weights : Out
        Lanes to write.
    started : In
        A command starts: room for its report is reserved.
    free : Out
        Another command may start.
    busy : Out
        A beat is on its way to its write.
    o_report : Out(stream)
        One report per command, in order.
    """

    def __init__(self, config: UnitConfig):
        require_fixed(config)
        self.config = config
        self.read_stage = 1 + FixedAlign.latency
        self.latency = self.read_stage + Lane.latency
        fields = {f.name: f.width for f in layout.command(config)}
        weights = data.ArrayLayout(shape_of(config.weight), config.lanes)
        super().__init__(
            {
                "valid": In(1),
                "beat": In(beat_layout(config)),
                "gradients": In(data.ArrayLayout(shape_of(config.gradient), config.lanes)),
                "rate": In(fields["rate"]),
                "resolution": In(fields["resolution"]),
                "read_valid": Out(1),
                "read_row": Out(layout.row_bits(config)),
                "weights": In(weights),
                "write_row": Out(layout.row_bits(config)),
                "write_mask": Out(config.lanes),
                "new_weights": Out(weights),
                "started": In(1),
                "free": Out(1),
                "busy": Out(1),
                "o_report": Out(stream.Signature(layout_of(layout.report(config)))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.reports = reports = ReportCollector(self.config)
        wiring.connect(m, wiring.flipped(self.o_report), reports.o)

        # Stage n holds the beat that started n clocks ago.
        valid, beat = [self.valid], [self.beat]
        for stage in range(1, self.latency + 1):
            valid.append(Signal(name=f"valid_{stage}"))
            beat.append(Signal(self.beat.shape(), name=f"beat_{stage}"))
            m.d.sync += [valid[stage].eq(valid[stage - 1]), beat[stage].eq(beat[stage - 1])]
        m.d.comb += [
            self.read_row.eq(beat[self.read_stage].row),
            self.read_valid.eq(valid[self.read_stage]),
            self.write_row.eq(beat[-1].row),
            self.write_mask.eq(Mux(valid[-1], beat[-1].mask, 0)),
            self.busy.eq(reduce(or_, valid[1:])),
            self.free.eq(reports.free),
            reports.started.eq(self.started),
            reports.valid.eq(valid[-1]),
            reports.beat.eq(beat[-1]),
        ]

        gradients = Signal.like(self.gradients)
        rate = Signal.like(self.rate)
        resolution = Signal.like(self.resolution)
        m.d.sync += [
            gradients.eq(self.gradients),
            rate.eq(self.rate),
            resolution.eq(self.resolution),
        ]
        self._lanes(m, reports, gradients=gradients, rate=rate, resolution=resolution)
        self._needed(m, reports, gradients=gradients, rate=rate, mask=beat[1].mask)
        return m

    def _lanes(self, m, reports, *, gradients, rate, resolution):
        """Connect the lanes; gradients, rate and resolution are those of stage 1."""
        ones = (1 << (self.config.weight.fraction + 1)) - 1
        low = Signal(self.config.weight.fraction + 1)
        m.d.sync += low.eq(ones >> resolution)
        half = low & ~(low >> 1)
        for j in range(self.config.lanes):
            m.submodules[f"align{j}"] = align = FixedAlign(self.config)
            m.submodules[f"lane{j}"] = lane = Lane(self.config)
            m.d.comb += [
                align.gradient.eq(gradients[j]),
                align.rate.eq(rate),
                lane.steps.eq(align.steps),
                lane.half.eq(half),
                lane.low.eq(low),
                lane.weight.eq(self.weights[j]),
                self.new_weights[j].eq(lane.new_weight),
                reports.nonzero[j].eq(lane.nonzero),
                reports.saturated[j].eq(lane.saturated),
            ]

    def _needed(self, m, reports, *, gradients, rate, mask):
        """Connect q_min, delayed until its beat is written."""
        m.submodules.needed_resolution = needed = NeededResolution(self.config)
        m.d.comb += [
            needed.gradients.eq(gradients),
            needed.mask.eq(mask),
            needed.rate.eq(rate),
        ]
        valid, value = needed.valid, needed.needed
        for stage in range(1 + needed.latency, self.latency):
            later_valid = Signal(name=f"needed_valid_{stage + 1}")
            later_value = Signal.like(value, name=f"needed_{stage + 1}")
            m.d.sync += [later_valid.eq(valid), later_value.eq(value)]
            valid, value = later_valid, later_value
        m.d.comb += [reports.needed_valid.eq(valid), reports.needed.eq(value)]
