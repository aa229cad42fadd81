"""The datapath: beats of gradients and weights in, new weights and reports out, never stalled.

A beat's gradients are registered, aligned, rounded, subtracted from their weights and clamped;
`upshift_hw.pipeline` says in which clocks. Beside the lanes, q_min is found, and what happened in
the lanes is counted once the weights are written.

Whether the weights come from a memory on chip or from outside is not known here. They are asked
for late, so that few clocks lie between a beat and the first beat that may read what it wrote.
"""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig
from upshift.report import Refusal
from upshift_hw.align import FloatAlign, align
from upshift_hw.burst import BurstSequencer, beat_layout
from upshift_hw.delay import later
from upshift_hw.lane import Lane
from upshift_hw.needed import needed_resolution
from upshift_hw.pipeline import pipeline_of
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
        Clocks from a beat to the read of its row.
    weights_stage : int
        Clocks from a beat to `weights`.
    latency : int
        Clocks from a beat to `write_row`.

    Members
    -------
    valid, beat, gradients, rate, resolution : In
        A beat starts in this clock.
    read_valid, read_row : Out
        This row of weights is to be read in the next clock.
    weights : In
        That row.
    write_row, write_mask, write_last, new_weights : Out
        Lanes to write, and whether the beat is the last of its burst.
    started : In
        A command starts: room for its report is reserved.
    elements, refusal : In
        What is known of it, in the clock after.
    free : Out
        Commands may start; low some clocks before there is no room for another report.
    occupied : Out
        A beat is on its way to its write.
    busy : Out
        A beat started or was on its way, a clock ago.
    o_report : Out(stream)
        One report per command, in order.
    """

    def __init__(self, config: UnitConfig):
        self.config = config
        self._cuts = pipeline_of(config)
        self.read_stage = self._cuts.read_stage
        self.weights_stage = self._cuts.subtract_stage
        self.latency = self._cuts.latency
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
                "write_last": Out(1),
                "new_weights": Out(weights),
                "started": In(1),
                "elements": In(fields["count"]),
                "refusal": In(len(Refusal)),
                "free": Out(1),
                "occupied": Out(1),
                "busy": Out(1),
                "o_report": Out(stream.Signature(layout_of(layout.report(config)))),
            }
        )

    def follow(self, sequencer):
        """Return the statements that start the beats of a sequencer, but for their gradients."""
        return [
            self.valid.eq(sequencer.valid),
            self.beat.eq(sequencer.beat),
            self.rate.eq(sequencer.rate),
            self.resolution.eq(sequencer.resolution),
        ]

    def elaborate(self, platform):
        m = Module()
        # Stage n holds the beat that started n clocks ago. Beats are counted once it is known what
        # they changed and what their q_min is.
        needed = needed_resolution(self.config)
        lanes = [Lane(self.config) for _ in range(self.config.lanes)]
        aligned = 1 + self._cuts.align
        changed = aligned + lanes[0].changed
        counted = max(changed, 1 + needed.latency)
        m.submodules.reports = reports = self._collector(counted)
        wiring.connect(m, wiring.flipped(self.o_report), reports.o)

        valid, beat = [self.valid], [self.beat]
        for stage in range(1, counted + 1):
            valid.append(Signal(name=f"valid_{stage}"))
            beat.append(Signal(self.beat.shape(), name=f"beat_{stage}"))
            m.d.sync += [valid[stage].eq(valid[stage - 1]), beat[stage].eq(beat[stage - 1])]
        m.d.comb += self.occupied.eq(reduce(or_, valid[1 : self.latency]))
        m.d.sync += self.busy.eq(self.valid | self.occupied)
        # A clock without a beat touches no lane; known from a register, a clock late.
        with m.If(~valid[1]):
            m.d.sync += beat[2].mask.eq(0)
        m.d.comb += [
            self.read_row.eq(beat[self.read_stage - 1].row),
            self.read_valid.eq(valid[self.read_stage - 1]),
            self.write_row.eq(beat[self.latency].row),
            self.write_mask.eq(beat[self.latency].mask),
            self.write_last.eq(beat[self.latency].last),
            self.free.eq(reports.free),
            reports.started.eq(self.started),
            reports.elements.eq(self.elements),
            reports.refusal.eq(self.refusal),
            reports.valid.eq(valid[counted]),
            reports.first.eq(beat[counted].first),
            reports.last.eq(beat[counted].last),
        ]

        # A gradient of zero changes nothing and counts nowhere, so that what lies outside a burst
        # needs no mask behind this register. Without a reset, the clear is all it has to do.
        gradients = Signal.like(self.gradients, reset_less=True)
        for lane, inside in enumerate(self.beat.mask):
            m.d.sync += gradients[lane].eq(Mux(inside, self.gradients[lane], 0))
        rate = Signal.like(self.rate)
        resolution = Signal.like(self.resolution)
        m.d.sync += [rate.eq(self.rate), resolution.eq(self.resolution)]
        inside = beat[aligned + lanes[0].touched_delay].mask
        events = self._lanes(
            m, lanes, gradients=gradients, rate=rate, resolution=resolution, inside=inside
        )
        for name, bits in events.items():
            m.d.comb += getattr(reports, name).eq(later(m, bits, counted - changed, name))

        m.submodules.needed_resolution = needed
        m.d.comb += [
            needed.gradients.eq(gradients),
            needed.mask.eq(~0),
            needed.rate.eq(rate),
        ]
        rest = counted - 1 - needed.latency
        m.d.comb += [
            reports.needed_valid.eq(later(m, needed.valid, rest, "needed_valid")),
            reports.needed.eq(later(m, needed.needed, rest, "needed")),
        ]
        return m

    def _collector(self, counted):
        """Return a collector with places for a command of one beat in every clock."""
        # Streamed beats come here a clock after they were taken.
        clocks = BurstSequencer.latency + 1 + counted + ReportCollector.latency(self.config)
        return ReportCollector(self.config, quarter=clocks)

    def _lanes(self, m, lanes, *, gradients, rate, resolution, inside):
        """Connect the lanes and return what is to be counted, a bit per lane.

        Gradients, rate and resolution are those of stage 1.
        """
        resolution = later(m, resolution, self._cuts.align - 1, "resolution")
        bits = self.config.weight.fraction + 1
        half, high = Signal(bits), Signal(bits)
        m.d.sync += [
            half.eq((1 << (bits - 1)) >> resolution),
            high.eq(~(((1 << bits) - 1) >> resolution)),
        ]
        late_high = later(m, high, lanes[0].high_delay, "high")
        events = {name: [] for name in ("nonzero", "saturated")}
        for j in range(self.config.lanes):
            m.submodules[f"align{j}"] = aligned = align(self.config, self._cuts.align)
            m.submodules[f"lane{j}"] = lane = lanes[j]
            m.d.comb += [
                aligned.gradient.eq(gradients[j]),
                aligned.rate.eq(rate),
                lane.steps.eq(aligned.steps),
                lane.half.eq(half),
                lane.high.eq(late_high),
                lane.weight.eq(self.weights[j]),
                self.new_weights[j].eq(lane.new_weight),
                lane.touched.eq(inside[j]),
            ]
            events["nonzero"].append(lane.nonzero)
            events["saturated"].append(lane.saturated)
            if isinstance(aligned, FloatAlign):
                bit = later(m, aligned.nonfinite, lane.changed, f"nonfinite{j}")
                events.setdefault("nonfinite", []).append(bit)
        return {name: Cat(bits) for name, bits in events.items()}
