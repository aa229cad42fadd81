"""q_min of fixed-point gradients: one OR of the lanes and one priority encoder.

A gradient G needs q >= k + Fg - floor(log2(2G xor sign(G))).
"""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux
from amaranth.lib import wiring

from upshift.config import UnitConfig
from upshift_hw.delay import later
from upshift_hw.needed.ports import ports

_GROUP = 4  # bits that are searched in one clock


class FixedNeeded(wiring.Component):
    """Find q_min of one beat.

    Latency five clocks, throughput one beat per clock.

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

    latency = 5

    def __init__(self, config: UnitConfig):
        self.config = config
        super().__init__(ports(config))

    def elaborate(self, platform):
        m = Module()
        fmt = self.config.gradient
        masked = [
            Mux(inside, (gradient << 1) ^ gradient[-1].replicate(fmt.width + 1), 0)[: fmt.width]
            for gradient, inside in zip(self.gradients, self.mask, strict=True)
        ]  # bit `width` is zero: it repeats the sign, which the xor cancels
        pairs = [
            later(m, reduce(or_, masked[lane : lane + 2]), 1, f"magnitude_from_{lane}")
            for lane in range(0, len(masked), 2)
        ]
        magnitude = later(m, reduce(or_, pairs), 1, "magnitude")

        # The place of the highest one: within each group of bits, then of the highest group.
        groups = [magnitude[at : at + _GROUP] for at in range(0, fmt.width, _GROUP)]
        found = later(m, Cat(group.any() for group in groups), 1, "found")
        places = [
            later(m, _at_highest(group, range(len(group))), 1, f"place_{n}")
            for n, group in enumerate(groups)
        ]
        high = later(m, _at_highest(found, range(len(found))), 1, "high")
        low = later(m, _at_highest(found, places), 1, "low")
        some = later(m, found.any(), 1, "some")

        # Alone, a sum with a constant is a few LUTs.
        rate = later(m, self.rate, self.latency - 2, "rate")
        least = later(m, rate + fmt.fraction, 1, "least")
        m.d.sync += [
            self.valid.eq(some),
            self.needed.eq(Mux(some, least - Cat(low, high), 0)),
        ]
        return m


def _at_highest(bits, values):
    """Return the value that belongs to the highest one; any of them if there is none."""
    return reduce(lambda value, at: Mux(bits[at], values[at], value), range(len(bits)), values[0])
