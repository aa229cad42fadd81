"""From commands to beats: when a beat may start and which lanes it touches."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig
from upshift.report import Refusal
from upshift_hw.command import CommandChecker
from upshift_hw.hazard import HazardTracker
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


class BurstSequencer(wiring.Component):
    """Issue the beats of checked commands, one per clock.

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
        m.submodules.command_check = checker = CommandChecker(self.config)
        m.submodules.hazards = tracker = HazardTracker(self.config, distance=self.distance)
        wiring.connect(m, wiring.flipped(self.command), checker.i)

        # -- the command in progress -----------------------------------------------------------
        plan = Signal.like(checker.plan)
        first, last, finish = Signal(), Signal(), Signal()
        m.d.comb += [
            last.eq(plan.beats_left == 0),
            finish.eq(self.valid & last),
            checker.take.eq(
                checker.valid & (~self.active | finish) & self.report_free & ~self.hold
            ),
            self.started.eq(checker.take),
            self.refused.eq(Mux(checker.take, checker.plan.refusal, 0)),
            self.floor.eq(checker.floor),
            self.rate.eq(plan.rate),
            self.resolution.eq(plan.resolution),
        ]
        with m.If(checker.take):
            m.d.sync += [self.active.eq(1), first.eq(1), plan.eq(checker.plan)]
        with m.Elif(self.valid):
            m.d.sync += [
                self.active.eq(~last),
                first.eq(0),
                plan.row.eq(plan.row + 1),
                plan.beats_left.eq(plan.beats_left - 1),
            ]

        # -- the beat of this clock ------------------------------------------------------------
        every_lane = (1 << self.config.lanes) - 1
        mask = Signal(self.config.lanes)
        with m.If(plan.has_beats & ~plan.refusal.any()):
            m.d.comb += mask.eq(
                Mux(first, plan.first_mask, every_lane) & Mux(last, plan.last_mask, every_lane)
            )
        m.d.comb += [
            tracker.row.eq(plan.row),
            tracker.mask.eq(mask),
            tracker.start.eq(self.valid),
            self.gradient_ready.eq(self.active & plan.has_beats & ~tracker.hazard),
            self.valid.eq(self.active & (self.gradient_valid | ~plan.has_beats) & ~tracker.hazard),
            self.beat.row.eq(plan.row),
            self.beat.mask.eq(mask),
            self.beat.first.eq(first),
            self.beat.last.eq(last),
            self.beat.refusal.eq(plan.refusal),
        ]

        # -- where the clocks go ---------------------------------------------------------------
        in_burst = self.active & plan.has_beats
        blocked = checker.valid & ~self.active & ~self.report_free
        m.d.comb += [
            self.waiting.eq(in_burst & self.gradient_valid & tracker.hazard),
            self.stalled.eq((in_burst & ~self.gradient_valid) | blocked),
            self.counting.eq(in_burst | blocked),
        ]
        return m
