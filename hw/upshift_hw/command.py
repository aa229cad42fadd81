"""The command that comes next: checked, and turned into rows, beats and masks."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig
from upshift.layout import Operation
from upshift.report import Refusal
from upshift_hw.shapes import layout_of


def plan_layout(config: UnitConfig) -> data.StructLayout:
    """Return what a command asks of the pipeline."""
    fields = {f.name: f.width for f in layout.command(config)}
    return data.StructLayout(
        {
            "has_beats": 1,
            "beats_left": fields["count"] + 1 - _lane_bits(config),  # after the first
            "row": layout.row_bits(config),
            "first_mask": config.lanes,
            "last_mask": config.lanes,
            "rate": fields["rate"],
            "resolution": fields["resolution"],
            "refusal": len(Refusal),
        }
    )


def _lane_bits(config: UnitConfig) -> int:
    return config.lanes.bit_length() - 1


def _bit(cause: Refusal) -> int:
    return cause.bit_length() - 1


class CommandChecker(wiring.Component):
    """Hold one command, decide whether it is refused, and keep the floor.

    Throughput one command per clock.

    Parameters
    ----------
    config : UnitConfig

    Members
    -------
    i : In(stream)
        Commands.
    valid : Out
        There is a command.
    plan : Out
        What it asks for.
    take : In
        It starts; only while `valid`. An accepted raise sets the floor.
    floor : Out
        Lowest resolution that is accepted.
    """

    def __init__(self, config: UnitConfig):
        self.config = config
        resolution = plan_layout(config)["resolution"].shape
        super().__init__(
            {
                "i": In(stream.Signature(layout_of(layout.command(config)))),
                "valid": Out(1),
                "plan": Out(plan_layout(config)),
                "take": In(1),
                "floor": Out(resolution),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        lane_bits = _lane_bits(config)
        every_lane = (1 << config.lanes) - 1

        command = Signal.like(self.i.payload)
        m.d.comb += self.i.ready.eq(~self.valid | self.take)
        with m.If(self.i.ready):
            m.d.sync += [self.valid.eq(self.i.valid), command.eq(self.i.payload)]

        update = Signal()
        refusal = Signal(len(Refusal))
        offset = command.base[:lane_bits]
        end = Signal(len(command.count) + 1)  # last element, counted from lane 0 of the first row
        m.d.comb += [
            update.eq(command.operation == Operation.UPDATE),
            end.eq(offset + command.count - 1),
            self.plan.has_beats.eq(update & command.count.any()),
            self.plan.beats_left.eq(Mux(self.plan.has_beats, end[lane_bits:], 0)),
            self.plan.row.eq(command.base[lane_bits:]),
            self.plan.first_mask.eq(every_lane << offset),
            self.plan.last_mask.eq(every_lane >> ~end[:lane_bits]),
            self.plan.rate.eq(command.rate),
            self.plan.resolution.eq(command.resolution),
            self.plan.refusal.eq(refusal),
        ]

        with m.If(command.resolution < self.floor):
            m.d.comb += refusal[_bit(Refusal.FLOOR)].eq(1)
        with m.If(command.resolution > config.max_resolution):
            m.d.comb += refusal[_bit(Refusal.FRACTION)].eq(1)
        if config.max_rate + 1 < 1 << len(command.rate):
            with m.If(update & (command.rate > config.max_rate)):
                m.d.comb += refusal[_bit(Refusal.RATE)].eq(1)
        with m.If(update & ~self.plan.has_beats):
            m.d.comb += refusal[_bit(Refusal.COUNT)].eq(1)
        with m.If(self.plan.has_beats & (command.base + command.count > config.depth)):
            m.d.comb += refusal[_bit(Refusal.RANGE)].eq(1)

        with m.If(self.take & ~update & ~refusal.any()):
            m.d.sync += self.floor.eq(command.resolution)
        return m
