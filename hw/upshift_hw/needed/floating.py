"""q_min of floating-point gradients: a maximum of exponents, and an OR where there are none.

A gradient g needs q >= k - L with L = floor(log2 2|g|), one less for a negative power of two. L
follows from the exponent field and one more bit, so the largest of a beat is the maximum of
these nine bits. It tells nothing when all gradients are subnormal: they are fixed point then, and
the OR of 2m - [g < 0], m being a mantissa, has L as the place of its highest one.
"""

from functools import reduce
from itertools import zip_longest
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring

from upshift.config import UnitConfig
from upshift_hw.delay import later
from upshift_hw.needed.ports import ports


class FloatNeeded(wiring.Component):
    """Find q_min of one beat.

    Throughput one beat per clock.

    Parameters
    ----------
    config : UnitConfig
        With a `bfloat16` or `float32` gradient format.

    Attributes
    ----------
    latency : int
        Clocks; one for each level of the maximum, at least two, and three more.

    Members
    -------
    gradients : In
        Bit patterns of all lanes.
    mask : In
        Lanes that belong to the burst.
    rate : In
        Exponent k of the learning rate.
    valid : Out
        Some gradient of these lanes is finite and not zero.
    needed : Out
        q_min of these lanes, a signed integer; 0 unless `valid`.
    """

    def __init__(self, config: UnitConfig):
        self.config = config
        self._levels = max((config.lanes - 1).bit_length(), 2)
        self.latency = 1 + self._levels + 2
        super().__init__(ports(config))

    def elaborate(self, platform):
        m = Module()
        fmt = self.config.gradient
        keys, magnitudes = zip(
            *(self._lane(m, lane) for lane in range(self.config.lanes)), strict=True
        )
        for level in range(self._levels):
            pairs = zip_longest(keys[::2], keys[1::2])
            keys = [
                later(m, a if b is None else Mux(a < b, b, a), 1, f"key{level}_{n}")
                for n, (a, b) in enumerate(pairs)
            ]
        (key,) = keys
        exponent, power = key[1:], ~key[0]
        normal = exponent.any()

        # In the meantime, the place of the highest one of all magnitudes.
        magnitude = later(m, reduce(or_, magnitudes), 1, "magnitude")
        place = Signal(range(-fmt.mantissa, 1))
        for bit in range(len(magnitude)):
            with m.If(magnitude[bit]):
                m.d.sync += place.eq(bit - fmt.mantissa)
        some = later(m, magnitude.any(), self._levels - 1, "some")
        place = later(m, place, self._levels - 2, "place")

        # Both are L, counted from the largest that a subnormal can have.
        logarithm = later(m, Mux(normal, exponent - power, place), 1, "logarithm")
        valid = later(m, normal | some, 1, "some_normal")
        rate = later(m, self.rate, self.latency - 1, "rate")
        m.d.sync += [
            self.valid.eq(valid),
            self.needed.eq(Mux(valid, rate + (fmt.BIAS - 1) - logarithm, 0)),
        ]
        return m

    def _lane(self, m, lane):
        """Return the key and the magnitude of a lane, both zero if it does not count."""
        fmt = self.config.gradient
        word = self.gradients[lane]
        mantissa, exponent, negative = word[: fmt.mantissa], word[fmt.mantissa : -1], word[-1]
        inside, some = self.mask[lane] & ~exponent.all(), mantissa.any()
        key = Signal(fmt.EXPONENT_BITS + 1, name=f"key_{lane}")
        magnitude = Signal(fmt.mantissa + 1, name=f"magnitude_{lane}")
        with m.If(inside):
            m.d.sync += key.eq(Cat(~negative | some, exponent))
        with m.Else():
            m.d.sync += key.eq(0)
        with m.If(inside & some):
            m.d.sync += magnitude.eq((mantissa << 1) - negative)
        with m.Else():
            m.d.sync += magnitude.eq(0)
        return key, magnitude
