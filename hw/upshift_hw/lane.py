"""One lane of the datapath: round the aligned step, subtract it, clamp the weight.

    steps --> + half, clear low bits --> [R] --> weight - R/2 --> [D] --> clamp --> [W]

Brackets are registers. `half` and `low` depend on the resolution alone and are decoded once for
all lanes.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from upshift.config import UnitConfig
from upshift_hw.shapes import shape_of


class Lane(wiring.Component):
    """Update one weight per clock.

    Latency three clocks from `steps` to `new_weight`, one clock less from `weight`; throughput
    one weight per clock.

    Parameters
    ----------
    config : UnitConfig

    Members
    -------
    steps : In
        Aligned step, B+2 bits, one bit below the weight's point.
    half : In
        Half a quantization step: the one bit F-q.
    low : In
        The bits that rounding clears: 0 to F-q.
    weight : In
        Old weight, one clock after `steps`.
    new_weight : Out
        Three clocks after `steps`.
    nonzero : Out
        The quantized step is not zero; with `new_weight`.
    saturated : Out
        The weight was clamped; with `new_weight`.
    """

    latency = 3

    def __init__(self, config: UnitConfig):
        self.config = config
        fraction = config.weight.fraction
        super().__init__(
            {
                "steps": In(signed(config.weight.width + 2)),
                "half": In(fraction + 1),
                "low": In(fraction + 1),
                "weight": In(shape_of(config.weight)),
                "new_weight": Out(shape_of(config.weight)),
                "nonzero": Out(1),
                "saturated": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        fmt = self.config.weight

        rounded = Signal(signed(fmt.width + 3))
        above = Const(-1, len(rounded) - len(self.low))
        m.d.sync += rounded.eq((self.steps + self.half) & Cat(~self.low, above))

        # Rounding cannot leave [-2**(B+1), 2**(B+1)], so half of it and a weight fit B+2 bits.
        exact = Signal(signed(fmt.width + 2))
        step_nonzero = Signal()
        m.d.sync += [
            exact.eq(self.weight - (rounded >> 1)),
            step_nonzero.eq(rounded.any()),
        ]

        # A number fits B bits when all bits from B-1 upwards are the same.
        top = exact[fmt.width - 1 :]
        overflow = top.any() & ~top.all()
        m.d.sync += [
            self.new_weight.eq(Mux(overflow, Mux(exact[-1], fmt.min, fmt.max), exact)),
            self.saturated.eq(overflow),
            self.nonzero.eq(step_nonzero),
        ]
        return m
