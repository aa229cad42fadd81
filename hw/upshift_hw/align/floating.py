"""Alignment of floating-point gradients: one shift, since an exponent absorbs the learning rate.

A gradient is +-m 2**(e - bias - M), with M mantissa bits and their leading one in m. With that
one in the highest magnitude bit of the step, what is left is to shift right by

    places = k - e + (bias - 1 + B - F)

Fewer than none: the step saturates. More than the step has bits: only the sign is left, which is
the floor. Both give the same bits but for an inversion, so one shift by more places than there
are bits serves them. The two's complement is taken before the shift, whose floor is then right
for both signs.
"""

from itertools import count

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from upshift.config import UnitConfig
from upshift_hw.align.ports import ports
from upshift_hw.delay import later


class FloatAlign(wiring.Component):
    """Align one floating-point gradient with the weight.

    Latency `stages` clocks, throughput one gradient per clock.

    Parameters
    ----------
    config : UnitConfig
        With a `bfloat16` or `float32` gradient format.
    stages : int
        1 to 3. Of more than one, the first finds out how far to shift; of three, the last two
        shift.

    Attributes
    ----------
    latency : int

    Members
    -------
    gradient : In
        Bit pattern of the gradient g.
    rate : In
        Exponent k of the learning rate 2**-k.
    steps : Out
        floor(g * 2**(F+1-k)), saturated to B+2 bits, F+1 of them behind the point. Zero when g is
        infinite or NaN.
    nonfinite : Out
        g is infinite or NaN; with `steps`.
    """

    def __init__(self, config: UnitConfig, stages: int = 1):
        self.config = config
        self.latency = stages
        super().__init__(ports(config, stages) | {"nonfinite": Out(1)})

    def elaborate(self, platform):
        m = Module()
        weight, fmt = self.config.weight, self.config.gradient
        exponent, negative = self.gradient[fmt.mantissa : -1], self.gradient[-1]
        nonfinite = exponent.all()

        # Zero and subnormals have no leading one, but only the signs of their steps are left.
        magnitude = Cat(self.gradient[: fmt.mantissa], 1)
        twos = Signal(len(magnitude))
        m.d.comb += twos.eq((magnitude ^ negative.replicate(len(twos))) + negative)
        value = twos[max(len(twos) + 1 - len(self.steps), 0) :]
        sign = negative & self.gradient[:-1].any() & ~nonfinite

        nearest = fmt.BIAS - 1 + weight.width - weight.fraction
        furthest = nearest + self.config.max_rate
        places = Signal(range(nearest - 2 * fmt.BIAS - 1, furthest + 1))
        m.d.comb += places.eq(self.rate + nearest - exponent)
        start = Signal(self.steps.shape())
        m.d.comb += start.eq(Cat(Const(0, len(start) - 1 - len(value)), value, sign))
        if self.latency == 3:
            start, places = later(m, start, 1, "start"), later(m, places, 1, "places")
            nonfinite = later(m, nonfinite, 1, "nonfinite")

        # Beyond `bits`, the upper part of the shift becomes all ones, which leaves only the sign.
        bits = next(n for n in count(1) if 2**n - 2 ** _lower(n) >= len(start) - 1)
        lower, upper = places[: _lower(bits)], places[_lower(bits) : bits]
        upper |= places[bits:].any().replicate(len(upper))
        invert = places[-1] & ~nonfinite
        if self.latency == 2:
            start, lower = later(m, start, 1, "start"), later(m, lower, 1, "lower")
        shifted = start >> lower
        if self.latency == 3:
            shifted = later(m, shifted, 1, "shifted")
        if self.latency > 1:
            upper, invert = later(m, upper, 1, "upper"), later(m, invert, 1, "invert")
            nonfinite = later(m, nonfinite, 1, "late")

        shifted >>= Cat(Const(0, len(lower)), upper)
        m.d.sync += [
            self.steps.eq(shifted ^ Cat(invert.replicate(len(start) - 1), 0)),
            self.nonfinite.eq(nonfinite),
        ]
        return m


def _lower(bits):
    """Return how many bits of a shift go first."""
    return (bits + 1) // 2
