"""From commands to beats: when a beat may start and which lanes it touches."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig
from upshift.report import Refusal
from upshift_hw.command import CommandChecker, is_accepted, plan_layout
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
    """Return what the sequencer knows of a beat before it starts.

    A beat `takes` gradients from the stream or is there without any; `row` counts beyond the
    memory.
    """
    plan = plan_layout(config).members
    return data.StructLayout(
        beat_layout(config).members
        | {name: plan[name] for name in ("row", "rate", "resolution")}
        | {"present": 1, "takes": 1}
    )


def _terms(beat, clear, hold, comes):
    """Return what there is to decide about a beat, and about a command that may come with it.

    It goes as soon as gradients come, if it meets nothing in flight, or easily, if it takes none:
    then it is a burst of its own, and meets nothing.
    """
    goes = beat.takes & clear & ~(beat.first & hold)
    easily = ~beat.takes & ~(beat.present & hold)
    return goes, easily, goes & comes, easily & comes, comes


class BurstSequencer(wiring.Component):
    """Issue the beats of checked commands, one per clock.

    A refused burst takes its beats from the gradient stream all the same, with an empty mask, so
    that the stream stays in step. A command without beats (a raise, an empty burst) issues one
    beat with an empty mask, which carries its report down the pipeline.

    A beat starts `distance` clocks or more after an earlier beat that touches a lane of the same
    row: a read must not overtake that write.

    Four beats are in line: the *new* one, which was generated last, the *second*, the *next* and
    the *current* one, which starts. All move on when the current one starts or there is none: a
    place without a beat is not made up for. What decides whether it starts is in registers.

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
        Commands, up to seven of which are held: three are checked, four have their beats in line.
        Gaps between them take places as well, so at least two are.
    gradient_valid : In, gradient_ready : Out
        Handshake of the gradient stream, whose payload does not pass through here.
    valid, beat, rate, resolution : Out
        A beat starts in this clock.
    room : In
        There is room for what becomes of beats that take gradients: none starts in the clock after
        one in which there is not.
    report_free : In
        Another report has room in the next clock; a command goes on its way only then.
    started : Out
        A command goes on its way.
    elements, refused : Out
        In the clock after that: elements that it updates, causes for which it is refused.
    hold : In
        Start no burst, from the next clock on.
    starting : Out
        A beat may start in this clock; it does unless it waits for gradients.
    underway : Out
        A burst has started its first beat and not its last.
    active : Out
        There are beats to start.
    floor : Out
        Lowest resolution accepted.
    taken, stalled, waiting, counting : Out
        The clock before took gradients; waited for them or a report slot; for a weight in flight;
        counts at all.
    """

    latency = 4

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
                "room": In(1, init=1),
                "report_free": In(1),
                "started": Out(1),
                "elements": Out(fields["count"]),
                "refused": Out(len(Refusal)),
                "hold": In(1),
                "starting": Out(1),
                "underway": Out(1),
                "active": Out(1),
                "floor": Out(fields["resolution"]),
                "taken": Out(1),
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

        new, second, following, current = line = [
            Signal(_step_layout(self.config), name=name)
            for name in ("new", "second", "next", "current")
        ]
        # Four times the same, near what it leads to: the line of beats, what is decided next, and,
        # if a command is due, the commands, and what is kept of its burst. At reset, when there is
        # none, they differ, so that synthesis does not merge them.
        may, must, may_take, must_take = (Signal() for _ in range(4))
        due = Signal()  # there is a command, room for its report, and no burst in progress
        *_, moves = self._now(m, "beats", may, must, init=(1, 0))
        ready, easy, decide = self._now(m, "decision", may, must, init=(0, 1))
        *_, take = self._now(m, "command", may_take, must_take, init=(0, 0))
        *_, load = self._now(m, "burst", may_take, must_take, init=(1, 1))
        m.d.comb += [
            self.gradient_ready.eq(ready),
            self.valid.eq(moves & current.present),
            self.starting.eq(ready | (easy & current.present)),
            *(self.beat[name].eq(current[name]) for name in beat_layout(self.config).members),
            self.rate.eq(current.rate),
            self.resolution.eq(current.resolution),
            checker.take.eq(take),
            self.started.eq(checker.valid & checker.i.ready),
            self.floor.eq(checker.floor),
        ]
        touches = Signal()  # the new beat is of an accepted burst
        with m.If(moves):
            m.d.sync += [second.eq(new), following.eq(second), current.eq(following)]
            m.d.sync += second.mask.eq(new.mask & touches.replicate(self.config.lanes))
        with m.If(self.valid):
            m.d.sync += self.underway.eq(~current.last)

        places = (tracker.newer, tracker.second, tracker.following, tracker.current)
        for place, beat in zip(places, line, strict=True):
            m.d.comb += [place.row.eq(beat.row), place.mask.eq(beat.mask)]
        m.d.comb += [
            tracker.touches.eq(touches),
            tracker.move.eq(moves),
            tracker.decide.eq(decide),
        ]
        done, nearly = self._generate(
            m, checker, new, due=due, moves=moves, touches=touches, load=load
        )
        another = checker.more & checker.plan.single
        comes = Mux(due, another, checker.some & (done | nearly)), checker.some & done
        moved = _terms(following, ~tracker.next_waits, self.hold, comes[0])
        stayed = _terms(current, ~tracker.stays, self.hold, comes[1])
        goes, easily, goes_and_comes, easily_and_comes, comes = (
            Mux(decide, *both) for both in zip(moved, stayed, strict=True)
        )
        m.d.comb += [
            may.eq(goes & self.room),
            must.eq(easily),
            may_take.eq(goes_and_comes & self.room & self.report_free),
            must_take.eq(easily_and_comes & self.report_free),
        ]
        m.d.sync += due.eq(comes & self.report_free)

        m.d.comb += self.active.eq(Cat(beat.present for beat in line).any())
        self._count(m, current, ready, blocked=checker.valid & ~self.active & ~due)
        return m

    def _now(self, m, name, may, must, *, init):
        """Return what is registered of it, and whether beats move on now.

        They do as soon as gradients come, if they may, and whatever comes, if they must.
        """
        ready = Signal(name=f"{name}_ready", init=init[0])
        easy = Signal(name=f"{name}_easy", init=init[1])
        now = Signal(name=f"{name}_now")
        m.d.sync += [ready.eq(may), easy.eq(must)]
        m.d.comb += now.eq(easy | (ready & self.gradient_valid))
        return ready, easy, now

    def _count(self, m, current, ready, *, blocked):
        """Say where the clocks go, a clock late: it shares nothing with the decision itself."""
        held_back, wanted, was_ready, came = Signal(), Signal(), Signal(), Signal()
        had_room, was_blocked = Signal(), Signal()
        m.d.sync += [
            held_back.eq(self.hold),
            wanted.eq(current.takes & ~(current.first & held_back)),  # ready, but for a hazard
            was_ready.eq(ready),
            had_room.eq(self.room),
            came.eq(self.gradient_valid & had_room),
            was_blocked.eq(blocked),
        ]
        m.d.comb += [
            self.taken.eq(was_ready & came),
            self.waiting.eq(wanted & came & ~was_ready),
            self.stalled.eq((wanted & ~came) | was_blocked),
            self.counting.eq(wanted | was_blocked),
        ]

    def _generate(self, m, checker, new, *, due, moves, touches, load):
        """Generate a beat: the one after the new one in its burst, or the first of the next.

        Return whether the new beat is the last of its burst, or the one after it is.
        """
        plan = checker.plan
        every_lane = (1 << self.config.lanes) - 1
        third_last = Signal.like(plan.third_last, reset_less=True)
        last_mask = Signal.like(plan.last_mask, reset_less=True)
        done = Signal(init=1)  # the new beat is the last of its burst, or there is none
        # The one after it is: in both halves its row is that of the last.
        halves = len(third_last) // 2
        nearly_low, nearly_high = Signal(), Signal()
        nearly = nearly_low & nearly_high
        refusal, started = Signal.like(plan.refusal), Signal()
        m.d.comb += new.last.eq(done)
        m.d.sync += [
            self.elements.eq(Mux(is_accepted(plan), plan.elements, 0)),
            refusal.eq(plan.refusal),
            started.eq(self.started),
        ]
        m.d.comb += self.refused.eq(Mux(started, refusal, 0))
        with m.If(moves):
            m.d.sync += [
                new.present.eq(~done | due),
                new.takes.eq(Mux(done, due & plan.has_beats, new.takes)),
                new.row.eq(Mux(done, plan.row, new.row + 1)),
                new.mask.eq(Mux(done, plan.first_mask, Mux(nearly, last_mask, every_lane))),
                touches.eq(Mux(done, due & is_accepted(plan), touches)),
                new.first.eq(done),
                done.eq(Mux(done, ~due | plan.single, nearly)),
                nearly_low.eq(Mux(done, plan.double, new.row[:halves] == third_last[:halves])),
                nearly_high.eq(Mux(done, plan.double, new.row[halves:] == third_last[halves:])),
            ]
        with m.If(load):
            m.d.sync += [
                new.refusal.eq(plan.refusal),
                new.rate.eq(plan.rate),
                new.resolution.eq(plan.resolution),
                third_last.eq(plan.third_last),
                last_mask.eq(plan.last_mask),
            ]
        return done, nearly
