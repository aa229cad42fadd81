"""q_min of fixed-point gradients: one OR of the lanes and one priority encoder.

A gradient G needs q >= k + Fg - floor(log2(2G xor sign(G))).
"""

from functools import reduce
from operator import or_

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring

from upshift.config import UnitConfig
from upshift_hw.needed.ports import ports


class FixedNeeded(wiring.Component):
    """Find q_min of one beat.

    Latency three clocks, throughput one beat per clock.

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

    latency = 3

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
        early_rate = Signal.like(self.rate)
        m.d.sync += [magnitude.eq(reduce(or_, masked)), early_rate.eq(self.rate)]

        log = Signal(range(fmt.width))
        some = Signal()
        late_rate = Signal.like(self.rate)
        for bit in range(fmt.width):
            with m.If(magnitude[bit]):
                m.d.sync += log.eq(bit)
        m.d.sync += [some.eq(magnitude.any()), late_rate.eq(early_rate)]

        m.d.sync += [
            self.valid.eq(some),
            self.needed.eq(Mux(some, late_rate + fmt.fraction - log, 0)),
        ]
        return m
