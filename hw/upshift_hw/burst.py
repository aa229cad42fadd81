"""From commands to beats: what is refused, when a beat may start, which lanes it touches."""

from functools import reduce
from operator import or_

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig
from upshift.layout import Operation
from upshift.report import Refusal
from upshift_hw.shapes import layout_of


def beat_layout(config: UnitConfig) -> data.StructLayout:
    """Return what travels down the pipeline with a beat."""
    return data.StructLayout(
        {
            "row": layout.row_bits(config),
            "mask": config.lanes,
            "first": 1,
            "last": 1,
            "refusal": len(Refusal),
        }
    )


def _bit(cause: Refusal) -> int:
    return cause.bit_length() - 1


class BurstSequencer(wiring.Component):
    """Check commands and issue their beats, one per clock.

    A refused burst takes its beats from the gradient stream all the same, with an empty mask, so
    that the stream stays in step. A command without beats (a raise, an empty burst) issues one
    beat with an empty mask, which carries its report down the pipeline.

    A beat starts `distance` clocks or more after an earlier beat that touches a lane of the same
    row: a read must not overtake that write.

    Parameters
    ----------
    config : UnitConfig
    distance : int
        Clocks from a beat to the first beat that may read what it wrote.

    Members
    -------
    command : In(stream)
        Commands, two of which are held.
    gradient_valid : In, gradient_ready : Out
        Handshake of the gradient stream, whose payload does not pass through here.
    valid, beat, rate, resolution : Out
        A beat starts in this clock.
    report_free : In
        Another report has room; a command starts only then.
    hold : In
        Start no command.
    started : Out
        A command starts its way through the pipeline.
    active : Out
        A command is in progress.
    floor : Out
        Lowest resolution accepted.
    refused : Out
        Causes for which the command that starts is refused.
    stalled, waiting, counting : Out
        This clock waits for a gradient or a report slot; for a weight in flight; counts at all.
    """

    def __init__(self, config: UnitConfig, *, distance: int):
        self.config = config
        self.distance = distance
        fields = {f.name: f.width for f in layout.command(config)}
        super().__init__(
            {
                "command": In(stream.Signature(layout_of(layout.command(config)))),
                "gradient_valid": In(1),
                "gradient_ready": Out(1),
                "valid": Out(1),
                "beat": Out(beat_layout(config)),
                "rate": Out(fields["rate"]),
                "resolution": Out(fields["resolution"]),
                "report_free": In(1),
                "hold": In(1),
                "started": Out(1),
                "active": Out(1),
                "floor": Out(fields["resolution"]),
                "refused": Out(len(Refusal)),
                "stalled": Out(1),
                "waiting": Out(1),
                "counting": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        lane_bits = config.lanes.bit_length() - 1
        everything = (1 << config.lanes) - 1

        # -- the command that comes next, and what is wrong with it --------------------------
        pending = Signal()
        command = Signal.like(self.command.payload)
        accept = Signal()
        m.d.comb += self.command.ready.eq(~pending | accept)
        with m.If(self.command.ready):
            m.d.sync += [pending.eq(self.command.valid), command.eq(self.command.payload)]

        update = Signal()
        wants_beats = Signal()
        offset = command.base[:lane_bits]
        end = Signal(len(command.count) + 1)  # last element, counted from lane 0 of the first row
        m.d.comb += [
            update.eq(command.operation == Operation.UPDATE),
            wants_beats.eq(update & command.count.any()),
            end.eq(offset + command.count - 1),
        ]

        refusal = Signal(len(Refusal))
        with m.If(command.resolution < self.floor):
            m.d.comb += refusal[_bit(Refusal.FLOOR)].eq(1)
        with m.If(command.resolution > config.max_resolution):
            m.d.comb += refusal[_bit(Refusal.FRACTION)].eq(1)
        if config.max_rate + 1 < 1 << len(command.rate):
            with m.If(update & (command.rate > config.max_rate)):
                m.d.comb += refusal[_bit(Refusal.RATE)].eq(1)
        with m.If(update & ~wants_beats):
            m.d.comb += refusal[_bit(Refusal.COUNT)].eq(1)
        with m.If(wants_beats & (command.base + command.count > config.depth)):
            m.d.comb += refusal[_bit(Refusal.RANGE)].eq(1)

        # -- the command in progress -----------------------------------------------------------
        beats_left = Signal(len(end) - lane_bits)  # after this one
        has_beats = Signal()
        first = Signal()
        first_mask = Signal(config.lanes)
        last_mask = Signal(config.lanes)
        row = Signal.like(self.beat.row)
        current = Signal.like(self.beat.refusal)
        issue = Signal()
        finish = Signal()

        m.d.comb += [
            accept.eq(pending & (~self.active | finish) & self.report_free & ~self.hold),
            self.started.eq(accept),
            self.refused.eq(Mux(accept, refusal, 0)),
        ]
        with m.If(finish):
            m.d.sync += self.active.eq(0)
        with m.If(issue):
            m.d.sync += [first.eq(0), row.eq(row + 1), beats_left.eq(beats_left - 1)]
        with m.If(accept):
            m.d.sync += [
                self.active.eq(1),
                first.eq(1),
                has_beats.eq(wants_beats),
                beats_left.eq(Mux(wants_beats, end[lane_bits:], 0)),
                first_mask.eq(everything << offset),
                last_mask.eq(everything >> ~end[:lane_bits]),
                row.eq(command.base[lane_bits:]),
                self.rate.eq(command.rate),
                self.resolution.eq(command.resolution),
                current.eq(refusal),
            ]
            with m.If(~update & ~refusal.any()):
                m.d.sync += self.floor.eq(command.resolution)

        # -- the beat of this clock --------------------------------------------------------------
        last = Signal()
        touch = has_beats & ~current.any()
        m.d.comb += [
            last.eq(beats_left == 0),
            self.beat.row.eq(row),
            self.beat.mask.eq(
                Mux(first, first_mask, everything)
                & Mux(last, last_mask, everything)
                & touch.replicate(config.lanes)
            ),
            self.beat.first.eq(first),
            self.beat.last.eq(last),
            self.beat.refusal.eq(current),
        ]

        in_flight = []
        touched = Mux(issue, self.beat.mask, 0)
        touched_row = row
        for age in range(1, self.distance):
            mask = Signal(config.lanes, name=f"mask_{age}_ago")
            then = Signal.like(row, name=f"row_{age}_ago")
            m.d.sync += [mask.eq(touched), then.eq(touched_row)]
            in_flight.append((then == row) & (mask & self.beat.mask).any())
            touched, touched_row = mask, then
        hazard = Signal()
        m.d.comb += hazard.eq(reduce(or_, in_flight))

        m.d.comb += [
            self.gradient_ready.eq(self.active & has_beats & ~hazard),
            issue.eq(self.active & (self.gradient_valid | ~has_beats) & ~hazard),
            self.valid.eq(issue),
            finish.eq(issue & last),
        ]

        # -- where the clocks go --------------------------------------------------------------------
        starved = self.active & has_beats & ~self.gradient_valid
        blocked = pending & ~self.active & ~self.report_free
        m.d.comb += [
            self.waiting.eq(self.active & has_beats & self.gradient_valid & hazard),
            self.stalled.eq(starved | blocked),
            self.counting.eq(self.active & has_beats | blocked),
        ]
        return m
