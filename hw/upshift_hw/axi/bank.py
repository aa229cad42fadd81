"""The registers of the shell, and the way from a request to the unit's registers or to these."""

from functools import reduce
from operator import or_

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from upshift.registers import REGISTERS, SHELL, RegisterField
from upshift_hw.axi.lite import ANSWER, REQUEST
from upshift_hw.registers import Bus

TABLE = tuple(register for register in SHELL if register.name != "reset")
"""What is served here; `reset` is served where there is no reset."""


def _ports(name: str, field: RegisterField) -> dict:
    """Return the ports of a field: what is read, what starts, or what was written."""
    direction = {"r": In, "w1c": In, "w1s": Out, "rw": Out}[field.access]
    return {f"{name}_{field.name}": direction(field.width)}


class ShellBank(wiring.Component):
    """Answer requests one at a time, from the unit's registers or from the shell's.

    A write changes the bits in its mask only. Requests to addresses without a register are
    answered as errors and change nothing.

    Members
    -------
    request : In(stream)
    answer : Out(stream)
    unit : Out(Bus)
        The registers of the unit.
    <register>_<field> : In or Out
        Read-only fields: what is read. Clear-on-one fields: bits to set. Fields that are read
        and written: what was written. Fields that start something: one for one clock.
    <register>_<field>_held : Out
        Clear-on-one fields: the bits that are set.
    """

    def __init__(self):
        members = {
            "request": In(stream.Signature(REQUEST)),
            "answer": Out(stream.Signature(ANSWER)),
            "unit": Out(Bus),
        }
        for register in TABLE:
            for field in register.fields:
                members |= _ports(register.name, field)
        members |= {f"{name}_held": Out(width) for name, width in _sticky()}
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        request = Signal.like(self.request.payload)
        held = Signal()  # in this clock registers are read and written
        read = Signal()  # in this clock the unit says what it has read
        m.d.comb += self.request.ready.eq(~held & ~read & ~self.answer.valid)
        m.d.sync += [held.eq(self.request.valid & self.request.ready), read.eq(held)]
        with m.If(self.request.ready):
            m.d.sync += request.eq(self.request.payload)

        writing = held & request.write
        written = Mux(writing, request.data & request.mask, 0)
        words = []
        for register in TABLE:
            here = Signal(name=f"{register.name}_here")
            word = Signal(32, name=f"{register.name}_word")
            m.d.comb += here.eq(request.word == register.address)
            for field in register.fields:
                bits = slice(field.offset, field.offset + field.width)
                port = getattr(self, f"{register.name}_{field.name}")
                if field.access == "r":
                    m.d.comb += word[bits].eq(port)
                elif field.access == "w1s":
                    m.d.comb += port.eq(Mux(here, written[bits], 0))
                elif field.access == "rw":
                    with m.If(writing & here):
                        kept = port & ~request.mask[bits]
                        m.d.sync += port.eq(kept | written[bits])
                    m.d.comb += word[bits].eq(port)
                else:
                    sticky = getattr(self, f"{register.name}_{field.name}_held")
                    m.d.sync += sticky.eq(sticky & ~Mux(here, written[bits], 0) | port)
                    m.d.comb += word[bits].eq(sticky)
            words.append((here, word))

        of_unit = request.word <= max(register.address for register in REGISTERS)
        m.d.comb += [
            self.unit.address.eq(request.word),
            self.unit.write_enable.eq(writing & of_unit),
            self.unit.write_data.eq(written),
        ]
        shell_word = Signal(32)
        known = of_unit | reduce(or_, (here for here, _ in words))
        m.d.sync += shell_word.eq(reduce(or_, (Mux(here, word, 0) for here, word in words)))
        with m.If(read):
            m.d.sync += [
                self.answer.valid.eq(1),
                self.answer.payload.data.eq(Mux(of_unit, self.unit.read_data, shell_word)),
                self.answer.payload.error.eq(~known),
            ]
        with m.Elif(self.answer.ready):
            m.d.sync += self.answer.valid.eq(0)
        return m


def _sticky() -> list[tuple[str, int]]:
    return [
        (f"{register.name}_{field.name}", field.width)
        for register in TABLE
        for field in register.fields
        if field.access == "w1c"
    ]
