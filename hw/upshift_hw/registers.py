"""The register bank: a simple bus in front of the table in `upshift.registers`."""

from functools import reduce
from operator import or_

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from upshift.registers import REGISTERS

Bus = wiring.Signature(
    {
        "address": Out(range(len(REGISTERS))),
        "read_data": In(32),
        "write_enable": Out(1),
        "write_data": Out(32),
    }
)
"""A register bus, seen from its initiator.

`read_data` belongs to the `address` of the clock before. Addresses without a register read zero.
"""


class RegisterBank(wiring.Component):
    """Serve the register table.

    Members
    -------
    bus : In(Bus)
    <register>_<field> : In
        Read-only fields: what is read. Clear-on-one fields: bits to set.
    """

    def __init__(self):
        super().__init__(
            {"bus": In(Bus)}
            | {
                f"{register.name}_{field.name}": In(field.width)
                for register in REGISTERS
                for field in register.fields
            }
        )

    def elaborate(self, platform):
        m = Module()
        selected = []
        for register in REGISTERS:
            here = Signal(name=f"{register.name}_here")
            m.d.comb += here.eq(self.bus.address == register.address)
            word = Signal(32, name=f"{register.name}_word")
            for field in register.fields:
                port = getattr(self, f"{register.name}_{field.name}")
                bits = slice(field.offset, field.offset + field.width)
                if field.access == "r":
                    m.d.comb += word[bits].eq(port)
                else:
                    sticky = Signal(field.width, name=f"{register.name}_{field.name}_sticky")
                    clear = Mux(self.bus.write_enable & here, self.bus.write_data[bits], 0)
                    m.d.sync += sticky.eq(sticky & ~clear | port)
                    m.d.comb += word[bits].eq(sticky)
            selected.append(Mux(here, word, 0))
        m.d.sync += self.bus.read_data.eq(reduce(or_, selected))
        return m
