"""A unit alone on an FPGA: three pins, and registers at every port of the unit.

All inputs come from one long shift register and all outputs go into registers, which a pipelined
tree of exclusive-ors folds into one pin. So no path of the harness is longer than one look-up
table, every path of the unit begins and ends at a register, and nothing of the unit can be
removed, since every output matters and no input is known.
"""

from __future__ import annotations

import re
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import Cat, ClockDomain, ClockSignal, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from upshift.config import UnitConfig
from upshift_boards.fabric.parts import Part

TOP = "harness"
UNIT = f"{TOP}.unit"
"""Names of the two modules in the emitted RTLIL."""

_FOLD = 4  # inputs of a look-up table


class Harness(wiring.Component):
    """Put a unit between registers.

    Parameters
    ----------
    unit : amaranth.lib.wiring.Component

    Members
    -------
    pin_clock, pin_in : In
    pin_out : Out
    """

    def __init__(self, unit: Any):
        self.unit = unit
        super().__init__({"pin_clock": In(1), "pin_in": In(1), "pin_out": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.unit = self.unit
        # The reset is a register like other inputs, so that paths from it count as well.
        m.domains.sync = domain = ClockDomain()
        m.d.comb += ClockSignal().eq(self.pin_clock)

        inputs: list[Any] = [domain.rst]
        outputs: list[Any] = []
        for _, member, port in self.unit.signature.flatten(self.unit):
            (inputs if member.flow is In else outputs).append(_bits(port))

        into = Cat(inputs)
        shift = Signal(len(into), reset_less=True)
        m.d.sync += shift.eq(Cat(self.pin_in, shift[:-1]))
        m.d.comb += into.eq(shift)

        level = _register(m, Cat(outputs))
        while len(level) > 1:
            groups = [level[at : at + _FOLD] for at in range(0, len(level), _FOLD)]
            level = _register(m, Cat(group.xor() for group in groups))
        m.d.comb += self.pin_out.eq(level)
        return m


def _bits(port: Any) -> Any:
    """Return a port as a plain value."""
    return port.as_value() if hasattr(port, "as_value") else port


def _register(m: Module, value: Any) -> Signal:
    registered = Signal(len(value), reset_less=True)
    m.d.sync += registered.eq(value)
    return registered


def to_rtlil(config: UnitConfig, part: Part) -> str:
    """Return a unit in its harness as RTLIL, as it is built for a part."""
    from upshift_hw.units import unit_of

    # Gateware asks a platform for its device only, to place the block RAMs that it knows.
    text = rtlil.convert(Harness(unit_of(config)), name=TOP, platform=part, emit_src=False)
    # A wire called `row[1]` has the name that ABC gives to a bit of `row`, and Yosys aborts.
    return re.sub(r"(?<=\S)\[(\d+)\]", r".\1", text)
