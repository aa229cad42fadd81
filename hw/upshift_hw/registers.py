"""The register bank: a simple bus in front of the table in `upshift.registers`."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from upshift.config import UnitConfig
from upshift.registers import BY_NAME, REGISTERS, identity
from upshift_hw.counters import Counters

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


_COUNTERS = ("clocks", "beats", "stalls", "waits")  # at consecutive addresses


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


class UnitRegisters(wiring.Component):
    """The registers of a unit: who it is, what it does, and where its clocks went.

    Parameters
    ----------
    config : UnitConfig

    Members
    -------
    bus : In(Bus)
    busy, floor, refused : In
        What the registers say, as `upshift.registers` describes it.
    counting, beat, stalled, waiting : In
        Clocks to count.
    """

    def __init__(self, config: UnitConfig):
        self.config = config
        widths = {f.name: f.width for register in REGISTERS for f in register.fields}
        super().__init__(
            {
                "bus": In(Bus),
                "busy": In(widths["busy"]),
                "floor": In(widths["floor"]),
                "refused": In(widths["refusal"]),
                "counting": In(1),
                "beat": In(1),
                "stalled": In(1),
                "waiting": In(1),
            }
        )

    def follow(self, sequencer):
        """Return the statements that connect a sequencer, but for its beats."""
        return [
            self.floor.eq(sequencer.floor),
            self.refused.eq(sequencer.refused),
            self.counting.eq(sequencer.counting),
            self.stalled.eq(sequencer.stalled),
            self.waiting.eq(sequencer.waiting),
        ]

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank = bank = RegisterBank()
        wiring.connect(m, wiring.flipped(self.bus), bank.bus)
        values = identity(self.config)
        m.d.comb += [
            bank.magic_value.eq(values["magic"]),
            Cat(bank.version_gateware, bank.version_protocol).eq(values["version"]),
            bank.digest_high_value.eq(values["digest_high"]),
            bank.digest_low_value.eq(values["digest_low"]),
            bank.status_floor.eq(self.floor),
            bank.error_refusal.eq(self.refused),
        ]
        m.d.sync += bank.status_busy.eq(self.busy)  # it is found out from many places
        m.submodules.counters = counters = Counters(len(_COUNTERS), 32)
        events = {
            "clocks": self.counting,
            "beats": self.beat,
            "stalls": self.stalled,
            "waits": self.waiting,
        }
        m.d.comb += counters.index.eq(self.bus.address)
        for name in _COUNTERS:
            # All of them show the counter that is asked for.
            m.d.comb += [
                getattr(bank, f"{name}_value").eq(counters.value),
                counters.events[BY_NAME[name].address % len(_COUNTERS)].eq(events[name]),
            ]
        return m
