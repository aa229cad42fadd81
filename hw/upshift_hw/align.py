"""Alignment of a gradient to the weight's point: where the learning rate is applied.

The shifter is the only part of a lane that knows the gradient's format. It leaves one bit below
the weight's point, which is all that rounding half up needs, and saturates to two bits more than
the weight has, beyond which every step clamps the weight anyway.
"""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift_hw.shapes import shape_of


def require_fixed(config: UnitConfig) -> None:
    """Raise ValueError unless gradients are fixed-point."""
    if not isinstance(config.gradient, Fixed):
        raise ValueError(
            f"the gateware takes fixed-point gradients, not {config.gradient}: "
            "allowed are formats such as 16.12"
        )


class FixedAlign(wiring.Component):
    """Shift one fixed-point gradient right by the rate exponent and saturate it.

    Latency one clock, throughput one gradient per clock.

    Parameters
    ----------
    config : UnitConfig
        With a `Fixed` gradient format.

    Members
    -------
    gradient : In
        Raw gradient G.
    rate : In
        Exponent k of the learning rate 2**-k.
    steps : Out
        floor(G * 2**(F+1-Fg-k)), saturated to B+2 bits; F+1 of them lie behind the point.
    """

    latency = 1

    def __init__(self, config: UnitConfig):
        require_fixed(config)
        self.config = config
        rate = next(f for f in layout.command(config) if f.name == "rate")
        super().__init__(
            {
                "gradient": In(shape_of(config.gradient)),
                "rate": In(rate.width),
                "steps": Out(signed(config.weight.width + 2)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        weight, gradient = self.config.weight, self.config.gradient
        left = weight.fraction + 1 - gradient.fraction
        start = self.gradient << left if left >= 0 else self.gradient >> -left
        shifted = Signal(start.shape())
        m.d.comb += shifted.eq(start >> self.rate)

        spare = len(shifted) - len(self.steps)
        if spare <= 0:
            m.d.sync += self.steps.eq(shifted)
        else:
            sign = shifted[-1]
            fits = shifted[-spare - 1 :] == sign.replicate(spare + 1)
            limit = (1 << (len(self.steps) - 1)) - 1
            m.d.sync += self.steps.eq(Mux(fits, shifted, Mux(sign, ~limit, limit)))
        return m
