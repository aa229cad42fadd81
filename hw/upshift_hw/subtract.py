"""Rounds a step and subtracts it from a weight.

Rounding half up needs no adder: the bits below a step are replaced by copies of the half bit, the
highest of them. With one bit below the weight's point on both sides, the subtraction then borrows
exactly when the step is to be rounded up.

There are two bodies. The described one is for all tools. The one for the ECP5 uses that a carry
cell of it has a look-up table of four inputs in front, of which a subtraction uses two: the bits
of a step are chosen there, where synthesis would spend a look-up table for each. The simulation
models that come with Yosys tell what a carry cell does, and a proof shows that both are equal.
"""

from typing import Literal

from amaranth.hdl import Cat, Const, Instance, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from upshift.config import UnitConfig
from upshift_hw.families import is_ecp5
from upshift_hw.shapes import shape_of

Carry = Literal["described", "ccu2c"]
"""How the subtraction is made: by synthesis, or of carry cells of an ECP5."""


class RoundedSubtraction(wiring.Component):
    """Subtract a rounded step from a weight.

    Parameters
    ----------
    config : UnitConfig
    carry : {"described", "ccu2c"}, optional
        How the subtraction is made. Left out, the platform decides.

    Members
    -------
    steps : In
        Aligned step, B+2 bits, one bit below the weight's point.
    half_bit : In
        The step's bit of half a quantization step. With `steps`.
    high : In
        The bits above half a step: F-q+1 to F. With `steps`.
    weight : In
        Old weight, a clock after `steps`.
    difference : Out
        The exact difference, in the same clock.
    """

    def __init__(self, config: UnitConfig, carry: Carry | None = None):
        self.config = config
        self._carry = carry
        width = config.weight.width
        super().__init__(
            {
                "steps": In(signed(width + 2)),
                "half_bit": In(1),
                "high": In(config.weight.fraction + 1),
                "weight": In(shape_of(config.weight)),
                "difference": Out(signed(width + 2)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        carry = self._carry or ("ccu2c" if is_ecp5(platform) else "described")
        if carry == "ccu2c":
            self._place(m)
        else:
            self._describe(m)
        return m

    def _describe(self, m):
        high = Cat(self.high, 1).as_signed()
        copies = self.half_bit.replicate(len(self.steps)).as_signed()
        # Minus the step, but for a one, which comes in beside the weight. Carry chains that add
        # only would have the complement made behind the register.
        minus = Signal.like(self.steps)
        m.d.sync += minus.eq(~((self.steps & high) | (copies & ~high)))
        exact = Cat(1, self.weight).as_signed() + minus
        # The lowest bit has done its work by its carry.
        m.d.comb += self.difference.eq(exact >> 1)

    def _place(self, m):
        steps = Signal.like(self.steps)
        is_high = Signal.like(self.high)
        half_is_zero = Signal()
        m.d.sync += [
            steps.eq(self.steps),
            is_high.eq(self.high),
            half_is_zero.eq(~self.half_bit),
        ]
        # All of the lowest bit that is wanted is its borrow, which there is if the half bit is set.
        tables, inputs = [_PASS], [(half_is_zero, Const(0), Const(1), Const(1))]
        for bit in range(1, len(steps) + 1):
            weight, step = (
                self.weight[min(bit, len(self.weight)) - 1],
                steps[min(bit, len(steps) - 1)],
            )
            high = is_high[bit] if bit < len(is_high) else Const(1)
            inputs.append((weight, step, high, half_is_zero))
            tables.append(_TABLE)
        if len(inputs) % 2:
            inputs.append((Const(0),) * 4)
            tables.append(0)
        carry, sums = {}, []
        for at in range(0, len(inputs), 2):
            pins = {
                f"i_{pin}{n}": value
                for n in range(2)
                for pin, value in zip("ABCD", inputs[at + n], strict=True)
            }
            out, following = Signal(2, name=f"sum{at}"), Signal(name=f"carry{at}")
            m.submodules[f"cell{at}"] = Instance(
                "CCU2C",
                p_INIT0=Const(tables[at], 16),
                p_INIT1=Const(tables[at + 1], 16),
                p_INJECT1_0="NO",
                p_INJECT1_1="NO",
                **carry,
                **pins,
                o_S0=out[0],
                o_S1=out[1],
                o_COUT=following,
            )
            carry = {"i_CIN": following}
            sums.append(out)
        m.d.comb += self.difference.eq(Cat(sums)[1:])


def _sums(weight, step, is_high, half_is_zero):
    """Return what a bit adds to its carry: weight plus the complement of the rounded step.

    Where that is zero, the carry out is what the table says of the same weight and step with the
    other two zero, and that is the weight's bit, as it must be.
    """
    rounded = step if is_high else not half_is_zero
    return weight != (not rounded)


_TABLE = sum(_sums(*(bool(line >> pin & 1) for pin in range(4))) << line for line in range(16))
_PASS = 0b1010  # the carry out is the first input, whatever comes in, while the last two are ones
