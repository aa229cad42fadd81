"""The command that comes next: checked, and turned into rows, beats and masks."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig
from upshift.layout import Operation
from upshift.report import Refusal
from upshift_hw.shapes import layout_of


def plan_layout(config: UnitConfig) -> data.StructLayout:
    """Return what a command asks of the pipeline.

    Rows are counted beyond the memory, since a refused burst may reach there. `third_last` is
    the row of the third beat from the end; `single` and `double` say that there are one or two.
    `legal` is an update that nothing speaks against but its range, which takes longest to check.
    """
    fields = {f.name: f.width for f in layout.command(config)}
    row = fields["count"] + 1 - _lane_bits(config)
    return data.StructLayout(
        {
            "has_beats": 1,
            "legal": 1,
            "single": 1,
            "double": 1,
            "row": row,
            "third_last": row,
            "first_mask": config.lanes,
            "last_mask": config.lanes,
            "elements": fields["count"],
            "rate": fields["rate"],
            "resolution": fields["resolution"],
            "refusal": len(Refusal),
        }
    )


def is_accepted(plan):
    """Return whether a plan is that of an accepted update."""
    return plan.legal & ~plan.refusal[_bit(Refusal.RANGE)]


def _lane_bits(config: UnitConfig) -> int:
    return config.lanes.bit_length() - 1


def _bit(cause: Refusal) -> int:
    return cause.bit_length() - 1


def _if(found, cause: Refusal):
    """Return a cause if it is found; not as a choice, from which synthesis makes a reset."""
    return found.replicate(len(Refusal)) & int(cause)


def _exceeds(number, limit: int):
    """Return whether a number is more than a constant, without carries, choices or resets."""
    exceeds = Const(0)
    for place, bit in enumerate(number):
        exceeds = bit & exceeds if limit >> place & 1 else bit | exceeds
    return exceeds


def _leaves(third_last, rows):
    """Return whether the last of these rows, the first perhaps -2, is outside the memory."""
    bits = rows.bit_length() - 1
    if rows < 4 or rows != 1 << bits:
        return third_last >= rows - 2
    return ~third_last[-1] & (third_last[bits:].any() | third_last[1:bits].all())  # no carry chain


class CommandChecker(wiring.Component):
    """Hold three commands: work out what they ask for, and decide whether they are refused.

    Throughput one command per clock; three clocks from a command to its plan.

    Parameters
    ----------
    config : UnitConfig

    Members
    -------
    i : In(stream)
        Commands.
    valid, more, some : Out
        There is a plan; there will be one in the next clock, even if this one is taken; either.
    plan : Out
        What its command asks for. Elements and masks are for accepted updates only.
    take : In
        It starts; only while `valid`.
    floor : Out
        Lowest resolution that is accepted. An accepted raise sets it when it has been checked.
    """

    def __init__(self, config: UnitConfig):
        self.config = config
        resolution = plan_layout(config)["resolution"].shape
        super().__init__(
            {
                "i": In(stream.Signature(layout_of(layout.command(config)))),
                "valid": Out(1),
                "more": Out(1),
                "some": Out(1),
                "plan": Out(plan_layout(config)),
                "take": In(1),
                "floor": Out(resolution),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config

        # One clock for each carry chain: what is less than the count, what comes before the end,
        # and what that means. All move on together when there is no plan or it is taken.
        entered, added = Signal(), Signal()
        m.d.comb += self.i.ready.eq(~self.valid | self.take)
        # What nobody looks at before there is a command needs no reset, and where flip-flops are
        # reset only while they are enabled, their enable need not wait for one.
        command = Signal.like(self.i.payload, reset_less=True)
        # Two rows and an element less than the count: with `base`, the last element's place two
        # rows before its own.
        less = Signal(signed(len(command.count) + 2), reset_less=True)
        with m.If(self.i.ready):
            m.d.sync += [
                entered.eq(self.i.valid),
                command.eq(self.i.payload),
                less.eq(self.i.payload.count - (2 * config.lanes + 1)),
            ]

        late_command = Signal.like(command)
        before_end = Signal.like(less)
        update, has_beats, single, double, raised, below_floor, below_raise = (
            Signal(name=name, reset_less=True)
            for name in (
                *("update", "has_beats", "single", "double"),
                *("raised", "below_floor", "below_raise"),
            )
        )
        causes = Signal.like(self.plan.refusal, reset_less=True)
        # An accepted raise holds for the command behind it, which is compared in the same clock:
        # with both, and `raised` tells which counts.
        raises = Signal()
        below = Mux(raised, below_raise, below_floor)
        fraction = causes[_bit(Refusal.FRACTION)]  # for raises, nothing else is a cause
        m.d.comb += raises.eq(added & ~update & ~below & ~fraction)
        resolution = command.resolution
        lane_bits = _lane_bits(config)
        # At most a row of elements, and no carry from their lanes into the next row.
        carry = (command.base[:lane_bits] + less[:lane_bits])[lane_bits]
        with m.If(self.i.ready):
            m.d.sync += [
                added.eq(entered),
                late_command.eq(command),
                before_end.eq(command.base + less),
                causes.eq(self._causes(command)),
                raised.eq(raises),
                below_floor.eq(resolution < self.floor),
                below_raise.eq(resolution < late_command.resolution),
                update.eq(command.operation == Operation.UPDATE),
                has_beats.eq((command.operation == Operation.UPDATE) & command.count.any()),
                # Where there are beats, fewer than three are -2 or -1 rows and that carry.
                single.eq((less < 0) & ~less[lane_bits] & ~carry),
                double.eq((less < 0) & (less[lane_bits] ^ carry)),
            ]

        plan, current = Signal.like(self.plan), Signal.like(self.plan, reset_less=True)
        beyond = has_beats & _leaves(before_end[lane_bits:].as_signed(), config.rows)
        m.d.comb += [
            plan.has_beats.eq(has_beats),
            plan.single.eq(single | ~has_beats),
            plan.double.eq(double),
            plan.legal.eq(has_beats & ~(below | causes.any())),
        ]
        self._fill(m, late_command, before_end, single, plan)
        m.d.comb += plan.refusal.eq(
            causes
            | _if(below, Refusal.FLOOR)
            | _if(update & ~has_beats, Refusal.COUNT)
            | _if(beyond, Refusal.RANGE)
        )
        m.d.comb += [self.plan.eq(current), self.more.eq(added)]
        waits = self.valid & ~self.take
        m.d.sync += [self.valid.eq(added | waits), self.some.eq(entered | added | waits)]
        with m.If(self.i.ready):
            # Two terms instead of a choice: the floor shares the enable of all the others.
            new = late_command.resolution & raises.replicate(len(self.floor))
            old = self.floor & (~raises).replicate(len(self.floor))
            m.d.sync += [current.eq(plan), self.floor.eq(new | old)]
        return m

    def _fill(self, m, command, before_end, single, plan):
        """Fill in rows and masks, and what is passed on."""
        lane_bits = _lane_bits(self.config)
        every_lane = (1 << self.config.lanes) - 1
        before = [_exceeds(command.base[:lane_bits], lane) for lane in range(self.config.lanes)]
        m.d.comb += [
            plan.row.eq(command.base[lane_bits:]),
            plan.third_last.eq(before_end[lane_bits:]),
            plan.last_mask.eq(every_lane >> ~before_end[:lane_bits]),
            plan.first_mask.eq(~Cat(before) & Mux(single, plan.last_mask, every_lane)),
            plan.elements.eq(command.count),
            plan.rate.eq(command.rate),
            plan.resolution.eq(command.resolution),
        ]

    def _causes(self, command):
        """Return causes to refuse a command that lie in its rate and resolution."""
        config = self.config
        update = command.operation == Operation.UPDATE
        causes = {Refusal.FRACTION: _exceeds(command.resolution, config.max_resolution)}
        if config.max_rate + 1 < 1 << len(command.rate):
            causes[Refusal.RATE] = update & _exceeds(command.rate, config.max_rate)
        return reduce(or_, (_if(found, cause) for cause, found in causes.items()))
