"""From commands to beats: when a beat may start and which lanes it touches."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig
from upshift.report import Refusal
from upshift_hw.command import CommandChecker, plan_layout
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


def _step_layout(config: UnitConfig) -> data.StructLayout:
    """Return what the sequencer knows of a beat before it starts."""
    plan = plan_layout(config).members
    return data.StructLayout(
        beat_layout(config).members
        | {name: plan[name] for name in ("row", "rate", "resolution")}
        | {"present": 1, "takes": 1}
    )


class BurstSequencer(wiring.Component):
    """Issue the beats of checked commands, one per clock.

    A refused burst takes its beats from the gradient stream all the same, with an empty mask, so
    that the stream stays in step. A command without beats (a raise, an empty burst) issues one
    beat with an empty mask, which carries its report down the pipeline.

    A beat starts `distance` clocks or more after an earlier beat that touches a lane of the same
    row: a read must not overtake that write.

    Beats are generated, each becomes the *next* one and then the *current* one until it starts.
    What decides whether it starts is in registers by then. When it does not start, the one that
    is being generated becomes a *spare* one, so that generator and commands stop a clock late
    and depend on nothing but registers.

    Parameters
    ----------
    config : UnitConfig
    distance : int
        Clocks from a beat to the first beat that may read what it wrote.

    Attributes
    ----------
    latency : int
        Clocks from a command's start to its first beat, at least.

    Members
    -------
    command : In(stream)
        Commands, up to seven of which are held: three are checked, four have their beats ready.
    gradient_valid : In, gradient_ready : Out
        Handshake of the gradient stream, whose payload does not pass through here.
    valid, beat, rate, resolution : Out
        A beat starts in this clock.
    report_free : In
        Another report has room in the next clock; a command goes on its way only then.
    started : Out
        A command goes on its way.
    elements, refused : Out
        In the clock after that: elements that it updates, causes for which it is refused.
    hold : In
        Start no burst, from the next clock on.
    underway : Out
        A burst has started its first beat and not its last.
    active : Out
        There are beats to start.
    floor : Out
        Lowest resolution accepted.
    stalled, waiting, counting : Out
        This clock waits for a gradient or a report slot; for a weight in flight; counts at all.
    """

    latency = 3

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
                "started": Out(1),
                "elements": Out(fields["count"]),
                "refused": Out(len(Refusal)),
                "hold": In(1),
                "underway": Out(1),
                "active": Out(1),
                "floor": Out(fields["resolution"]),
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

        step = Signal(_step_layout(self.config))  # the beat that is being generated
        spare, following, current = (
            Signal.like(step, name=n) for n in ("spare", "next", "current")
        )
        # The current beat waits for nothing but its gradients; not even for them; is not there.
        ready, alone, idle = Signal(), Signal(), Signal(init=1)
        room, moves, pulls = Signal(), Signal(), Signal()
        m.d.comb += [
            room.eq(~spare.present),
            self.gradient_ready.eq(ready),
            self.valid.eq(alone | (ready & self.gradient_valid)),
            moves.eq(alone | idle | (ready & self.gradient_valid)),
            pulls.eq(moves | ~following.present),
            *(self.beat[name].eq(current[name]) for name in beat_layout(self.config).members),
            self.rate.eq(current.rate),
            self.resolution.eq(current.resolution),
        ]
        with m.If(room):
            m.d.sync += spare.eq(step)
        m.d.sync += spare.present.eq((spare.present | step.present) & ~pulls)
        with m.If(pulls):
            m.d.sync += following.eq(Mux(room, step, spare))
        with m.If(moves):
            m.d.sync += current.eq(following)
        self._track(m, tracker, step, following, current)
        m.d.comb += [
            tracker.room.eq(room),
            tracker.pull.eq(pulls),
            tracker.move.eq(moves),
            tracker.start.eq(self.valid),
        ]

        # What the current beat will be, and whether it may start.
        wants = Signal()
        present, takes, goes = (
            Mux(moves, of(following), of(current))
            for of in (
                lambda beat: beat.present,
                lambda beat: beat.takes,
                lambda beat: beat.present & ~(beat.first & self.hold),
            )
        )
        m.d.sync += [
            idle.eq(~present),
            wants.eq(goes & takes),
            ready.eq(goes & takes & ~tracker.coming),
            alone.eq(goes & ~takes & ~tracker.coming),
        ]
        with m.If(self.valid):
            m.d.sync += self.underway.eq(~current.last)
        offered = Signal()  # there is a command, and room for its report
        m.d.sync += offered.eq(checker.coming & self.report_free)
        self._advance(m, checker, step, offered & (~step.present | (step.last & room)), room)

        # -- where the clocks go ---------------------------------------------------------------
        blocked = checker.valid & ~self.active & ~offered
        m.d.comb += [
            self.active.eq(step.present | following.present | current.present),
            self.waiting.eq(wants & self.gradient_valid & tracker.hazard),
            self.stalled.eq((wants & ~self.gradient_valid) | blocked),
            self.counting.eq(wants | blocked),
        ]
        return m

    def _track(self, m, tracker, step, following, current):
        """Show beats to the hazard tracker."""
        m.d.comb += [
            tracker.new_row.eq(step.row),
            tracker.new_mask.eq(step.mask),
            tracker.next_present.eq(following.present),
            tracker.next_row.eq(following.row),
            tracker.next_mask.eq(following.mask),
            tracker.row.eq(current.row),
            tracker.mask.eq(current.mask),
        ]

    def _advance(self, m, checker, step, take, room):
        """Generate a beat: the one after it in its burst, or the first of the next burst."""
        plan = checker.plan
        every_lane = (1 << self.config.lanes) - 1
        before_last = Signal.like(plan.before_last)
        last_mask = Signal.like(plan.last_mask)
        accepted = Signal()
        m.d.comb += [
            checker.take.eq(take),
            self.started.eq(checker.take),
            self.floor.eq(checker.floor),
        ]
        m.d.sync += [
            self.elements.eq(Mux(plan.accepted, plan.elements, 0)),
            self.refused.eq(Mux(checker.take, plan.refusal, 0)),
        ]
        with m.If(checker.take):
            m.d.sync += [
                step.present.eq(1),
                step.takes.eq(plan.has_beats),
                step.row.eq(plan.row),
                step.mask.eq(plan.first_mask),
                step.first.eq(1),
                step.last.eq(plan.single),
                step.refusal.eq(plan.refusal),
                step.rate.eq(plan.rate),
                step.resolution.eq(plan.resolution),
                before_last.eq(plan.before_last),
                last_mask.eq(plan.last_mask),
                accepted.eq(plan.accepted),
            ]
        with m.Elif(room):
            becomes_last = step.row == before_last
            m.d.sync += [
                step.present.eq(step.present & ~step.last),
                step.row.eq(step.row + 1),
                step.mask.eq(Mux(becomes_last, last_mask, every_lane)),
                step.first.eq(0),
                step.last.eq(becomes_last),
            ]
        with m.If(Mux(checker.take, ~plan.accepted, room & ~accepted)):
            m.d.sync += step.mask.eq(0)
