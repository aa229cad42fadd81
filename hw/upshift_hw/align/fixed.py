"""Alignment of fixed-point gradients: a shift by the rate exponent, then saturation."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring

from upshift.config import UnitConfig
from upshift_hw.align.ports import ports
from upshift_hw.delay import later


class FixedAlign(wiring.Component):
    """Shift one fixed-point gradient right by the rate exponent and saturate it.

    Latency `stages` clocks, throughput one gradient per clock.

    Parameters
    ----------
    config : UnitConfig
        With a `Fixed` gradient format.
    stages : int
        1 to 3.

    Attributes
    ----------
    latency : int

    Members
    -------
    gradient : In
        Raw gradient G.
    rate : In
        Exponent k of the learning rate 2**-k.
    steps : Out
        floor(G * 2**(F+1-Fg-k)), saturated to B+2 bits; F+1 of them lie behind the point.
    """

    def __init__(self, config: UnitConfig, stages: int = 1):
        self.config = config
        self.latency = stages
        super().__init__(ports(config, stages))

    def elaborate(self, platform):
        m = Module()
        weight, gradient = self.config.weight, self.config.gradient
        left = weight.fraction + 1 - gradient.fraction
        start = self.gradient << left if left >= 0 else self.gradient >> -left
        shifted = _shift_right(m, start, self.rate, self.latency)

        spare = len(shifted) - len(self.steps)
        if spare <= 0:
            m.d.sync += self.steps.eq(shifted)
        else:
            sign = shifted[-1]
            fits = shifted[-spare - 1 :] == sign.replicate(spare + 1)
            limit = (1 << (len(self.steps) - 1)) - 1
            m.d.sync += self.steps.eq(Mux(fits, shifted, Mux(sign, ~limit, limit)))
        return m


def _shift_right(m, value, places, parts):
    """Shift a signed value right, with a register between each two of the parts.

    The low bits of `places` come first, since then the value grows least. The first parts have
    most bits: what follows the shifter shares a clock with the last.
    """
    ends = [-(-len(places) * part // parts) for part in range(parts + 1)]
    for part in range(parts):
        if part:
            value = later(m, value, 1, f"value{part}")
            places = later(m, places, 1, f"places{part}")
        start, end = ends[part], ends[part + 1]
        shifted = Signal(value.shape(), name=f"shifted{part}")
        m.d.comb += shifted.eq(value >> Cat(Const(0, start), places[start:end]))
        value = shifted
    return value
