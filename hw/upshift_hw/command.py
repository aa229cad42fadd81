"""The command that comes next: checked, and turned into rows, beats and masks."""

from functools import reduce
from operator import or_

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig
from upshift.layout import Operation
from upshift.report import Refusal
from upshift_hw.shapes import layout_of


def plan_layout(config: UnitConfig) -> data.StructLayout:
    """Return what a command asks of the pipeline.

    Rows are counted beyond the memory, since a refused burst may reach there. `before_last` is
    the row before that of the last beat, and `single` says that the first beat is the last.
    """
    fields = {f.name: f.width for f in layout.command(config)}
    row = fields["count"] + 1 - _lane_bits(config)
    return data.StructLayout(
        {
            "has_beats": 1,
            "accepted": 1,
            "single": 1,
            "row": row,
            "before_last": row,
            "first_mask": config.lanes,
            "last_mask": config.lanes,
            "elements": fields["count"],
            "rate": fields["rate"],
            "resolution": fields["resolution"],
            "refusal": len(Refusal),
        }
    )


def _lane_bits(config: UnitConfig) -> int:
    return config.lanes.bit_length() - 1


def _bit(cause: Refusal) -> int:
    return cause.bit_length() - 1


def _reaches(row, limit):
    """Return whether a row, perhaps -1, is not below `limit`; without a carry chain if possible."""
    bits = limit.bit_length()
    if limit & (limit + 1):
        return row >= limit
    return ~row[-1] & (row[bits:].any() | row[:bits].all())


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
    valid, coming : Out
        There is a plan; there will be one in the next clock.
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
                "coming": Out(1),
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
        command = Signal.like(self.i.payload)
        # A row and an element less than the count: with `base`, the last element's place in the
        # row before its own.
        less = Signal(signed(len(command.count) + 2))
        with m.If(self.i.ready):
            m.d.sync += [
                entered.eq(self.i.valid),
                command.eq(self.i.payload),
                less.eq(self.i.payload.count - (config.lanes + 1)),
            ]

        late_command = Signal.like(command)
        before_end = Signal.like(less)
        update, has_beats, single = Signal(), Signal(), Signal()
        causes = Signal.like(self.plan.refusal)
        below, hopeless = Signal(), Signal()
        # An accepted raise holds for the command behind it, which is compared in the same clock.
        raises = Signal()
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
                hopeless.eq(self._causes(command).any()),
                below.eq(
                    Mux(raises, resolution < late_command.resolution, resolution < self.floor)
                ),
                update.eq(command.operation == Operation.UPDATE),
                has_beats.eq((command.operation == Operation.UPDATE) & command.count.any()),
                single.eq((less < 0) & ~carry),
            ]

        plan = Signal.like(self.plan)
        beyond = has_beats & _reaches(before_end[lane_bits:].as_signed(), config.rows - 1)
        m.d.comb += [
            plan.has_beats.eq(has_beats),
            plan.single.eq(single | ~has_beats),
            plan.accepted.eq(update & ~(below | hopeless | beyond)),
        ]
        self._fill(m, late_command, before_end, plan)
        m.d.comb += plan.refusal.eq(
            causes | Mux(below, int(Refusal.FLOOR), 0) | Mux(beyond, int(Refusal.RANGE), 0)
        )
        m.d.comb += self.coming.eq(Mux(self.i.ready, added, self.valid))
        m.d.sync += self.valid.eq(self.coming)
        with m.If(self.i.ready):
            m.d.sync += self.plan.eq(plan)
            with m.If(raises):
                m.d.sync += self.floor.eq(late_command.resolution)
        return m

    def _fill(self, m, command, before_end, plan):
        """Fill in rows and masks, and what is passed on."""
        lane_bits = _lane_bits(self.config)
        every_lane = (1 << self.config.lanes) - 1
        first_mask = every_lane << command.base[:lane_bits]
        m.d.comb += [
            plan.row.eq(command.base[lane_bits:]),
            plan.before_last.eq(before_end[lane_bits:]),
            plan.last_mask.eq(every_lane >> ~before_end[:lane_bits]),
            plan.first_mask.eq(first_mask & Mux(plan.single, plan.last_mask, every_lane)),
            plan.elements.eq(command.count),
            plan.rate.eq(command.rate),
            plan.resolution.eq(command.resolution),
        ]

    def _causes(self, command):
        """Return causes to refuse a command that need nothing but itself."""
        config = self.config
        update = command.operation == Operation.UPDATE
        causes = {
            Refusal.FRACTION: command.resolution > config.max_resolution,
            Refusal.COUNT: update & ~command.count.any(),
        }
        if config.max_rate + 1 < 1 << len(command.rate):
            causes[Refusal.RATE] = update & (command.rate > config.max_rate)
        return reduce(or_, (Mux(found, int(cause), 0) for cause, found in causes.items()))
