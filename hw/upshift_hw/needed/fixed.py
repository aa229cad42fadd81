"""q_min of fixed-point gradients: one OR of the lanes and one priority encoder.

A gradient G needs q >= k + Fg - floor(log2(2G xor sign(G))).
"""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring

from upshift.config import UnitConfig
from upshift_hw.delay import later
from upshift_hw.needed.ports import ports

_GROUP = 4  # bits that are searched in one clock


class FixedNeeded(wiring.Component):
    """Find q_min of one beat.

    Latency four clocks, throughput one beat per clock.

    Parameters
    ----------
    config : UnitConfig
        With a `Fixed` gradient format.

    Members
    -------
    gradients : In
        Raw gradients of all lanes.
    mask : In
        Lanes that belong to the burst.
    rate : In
        Exponent k of the learning rate.
    valid : Out
        Some gradient of these lanes is not zero.
    needed : Out
        q_min of these lanes, a signed integer; 0 unless `valid`.
    """

    latency = 4

    def __init__(self, config: UnitConfig):
        self.config = config
        super().__init__(ports(config))

    def elaborate(self, platform):
        m = Module()
        fmt = self.config.gradient
        masked = [
            Mux(inside, (gradient << 1) ^ gradient[-1].replicate(fmt.width + 1), 0)
            for gradient, inside in zip(self.gradients, self.mask, strict=True)
        ]
        # Bit `width` is zero: it repeats the sign, which the xor cancels.
        magnitude = Signal(fmt.width)
        m.d.sync += magnitude.eq(reduce(or_, masked))

        # The place of the highest one: within each group of bits, then of the highest group.
        groups = [magnitude[at : at + _GROUP] for at in range(0, fmt.width, _GROUP)]
        found = later(m, Cat(group.any() for group in groups), 1, "found")
        places = [_highest(m, group, f"place_{n}") for n, group in enumerate(groups)]
        high = _highest(m, found, "high")
        low = Signal(range(_GROUP))
        for some, place in zip(found, places, strict=True):
            with m.If(some):
                m.d.sync += low.eq(place)
        some = later(m, found.any(), 1, "some")

        rate = later(m, self.rate, self.latency - 1, "rate")
        m.d.sync += [
            self.valid.eq(some),
            self.needed.eq(Mux(some, rate + fmt.fraction - Cat(low, high), 0)),
        ]
        return m


def _highest(m, bits, name):
    """Return the place of the highest one, a clock later; anything if there is none."""
    place = Signal(range(len(bits)), name=name)
    for bit in range(len(bits)):
        with m.If(bits[bit]):
            m.d.sync += place.eq(bit)
    return place
