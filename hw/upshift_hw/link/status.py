"""The answer to STATUS, byte by byte, from the unit's registers and the link's own counters."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from upshift import layout, registers
from upshift.link.frames import ANSWERS, Answer, byte_width
from upshift_hw.registers import Bus

STATUS = ANSWERS[Answer.STATUS]
_REGISTERS = {"floor": ("status", "floor")} | {
    field.name: (field.name, "value") for field in STATUS if field.name in registers.BY_NAME
}
"""Fields of a status that are fields of the unit's registers."""


class StatusReader(wiring.Component):
    """Show the bytes of STATUS answers.

    Latency one clock.

    Members
    -------
    place : In
        Byte that is wanted.
    next, refused, frames, rejected, repeated : In
        Fields of a status that are not in the unit's registers.
    shown : Out
        That byte.
    bus : Out(Bus)
        The unit's registers.
    """

    def __init__(self):
        super().__init__(
            {
                "place": In(range(byte_width(STATUS))),
                "shown": Out(8),
                "bus": Out(Bus),
            }
            | {field.name: In(field.width) for field in STATUS if field.name not in _REGISTERS}
        )

    def elaborate(self, platform):
        m = Module()
        own = []  # bytes of the link's own
        in_unit, part = Signal(), Signal(2)
        with m.Switch(self.place):
            for bit, field in layout.places(STATUS):
                if field.name not in _REGISTERS:
                    own.append(getattr(self, field.name))
                    continue
                own.append(Const(0, field.width))
                register, name = _REGISTERS[field.name]
                described = registers.BY_NAME[register]
                first = next(f.offset for f in described.fields if f.name == name)
                for byte in range(field.width // 8):
                    with m.Case(bit // 8 + byte):
                        m.d.comb += [
                            in_unit.eq(1),
                            self.bus.address.eq(described.address),
                            part.eq(first // 8 + byte),
                        ]
        # A register comes the clock after its address, when `place` is still the same.
        m.d.comb += self.shown.eq(
            Mux(
                in_unit,
                self.bus.read_data.word_select(part, 8),
                Cat(own).word_select(self.place, 8),
            )
        )
        return m
