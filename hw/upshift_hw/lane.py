"""One lane of the datapath: round the aligned step, subtract it, clamp the weight.

    steps --> half bit --> ([H]) --> [R] --> weight - R --> ([D]) --> clamp --> ([C]) --> [W]

Brackets are registers, those in parentheses depend on the pipeline's depth. Where clamping takes
two clocks, it needs no look-up tables: flip-flops are cleared in the first and set in the second.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from upshift.config import UnitConfig
from upshift_hw.delay import later
from upshift_hw.pipeline import pipeline_of
from upshift_hw.shapes import shape_of
from upshift_hw.subtract import RoundedSubtraction


class Lane(wiring.Component):
    """Update one weight per clock.

    Parameters
    ----------
    config : UnitConfig

    Attributes
    ----------
    latency : int
        Clocks from `steps` to `new_weight`.
    high_delay, weight_delay, touched_delay : int
        Clocks from `steps` to `high`, `weight` and `touched`.
    changed : int
        Clocks from `steps` to `nonzero` and `saturated`.

    Members
    -------
    steps : In
        Aligned step, B+2 bits, one bit below the weight's point.
    half : In
        Half a quantization step: the one bit F-q. In the clock of `steps`.
    high : In
        The bits above half a step: F-q+1 to F.
    weight : In
        Old weight.
    new_weight : Out
    touched : In
        The weight belongs to a burst.
    nonzero : Out
        The quantized step was not zero.
    saturated : Out
        The weight was clamped.
    """

    def __init__(self, config: UnitConfig):
        self.config = config
        self._cuts = pipeline_of(config)
        self.weight_delay = self._cuts.round
        self.high_delay = self._cuts.round - 1
        self.latency = self._cuts.round + 1 + self._cuts.clamp
        self.touched_delay = self._cuts.round + 1 + min(self._cuts.clamp, 1)
        self.changed = self.touched_delay + 1
        fraction = config.weight.fraction
        super().__init__(
            {
                "steps": In(signed(config.weight.width + 2)),
                "half": In(fraction + 1),
                "high": In(fraction + 1),
                "weight": In(shape_of(config.weight)),
                "new_weight": Out(shape_of(config.weight)),
                "touched": In(1),
                "nonzero": Out(1),
                "saturated": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        fmt = self.config.weight
        clamp = self._cuts.clamp

        # Two registers for one bit, since a look-up table has an input to spare for the second.
        found = self.steps & self.half
        middle = len(self.half) * 2 // 3
        half_bit = later(m, found[:middle].any(), self.high_delay, "half_bit_low")
        half_bit |= later(m, found[middle:].any(), self.high_delay, "half_bit_high")
        m.submodules.subtraction = subtraction = RoundedSubtraction(self.config)
        m.d.comb += [
            subtraction.steps.eq(later(m, self.steps, self.high_delay, "late_steps")),
            subtraction.half_bit.eq(half_bit),
            subtraction.high.eq(self.high),
            subtraction.weight.eq(self.weight),
        ]

        # A number fits B bits when all bits from B-1 upwards are the same.
        exact = later(m, subtraction.difference, min(clamp, 1), "exact")
        top = exact[fmt.width - 1 :]
        overflow = top.any() & ~top.all()
        if clamp == 2:
            self._clamp_in_two(m, exact, overflow)
        else:
            clamped = Mux(overflow, Mux(exact[-1], fmt.min, fmt.max), exact)
            m.d.sync += self.new_weight.eq(clamped)

        # The step was zero if the difference is the old weight, which two by two bits tell. What
        # lies outside a burst is a weight that nobody may know yet, and no change of it counts.
        differs = exact ^ later(m, self.weight, min(clamp, 1), "old_weight")
        pairs = Cat(differs[at : at + 2].any() for at in range(0, len(differs), 2))
        changes = later(m, pairs, 1, "changes").any() & self.touched
        m.d.sync += [
            self.nonzero.eq(changes),
            self.saturated.eq(later(m, overflow, 1, "overflow") & changes),
        ]
        return m

    def _clamp_in_two(self, m, exact, overflow):
        """Clear all bits but the sign of what overflows, then set them if it was positive."""
        sign = later(m, exact[-1], 2, "sign")
        too_high = later(m, overflow & ~exact[-1], 1, "too_high")
        bits = Signal(len(self.new_weight) - 1, reset_less=True)
        # What is set has to begin as set for synthesis to use the flip-flop's own input for it.
        clamped = Signal(len(bits), init=(1 << len(bits)) - 1, reset_less=True)
        m.d.sync += [bits.eq(exact), clamped.eq(bits)]
        with m.If(overflow):
            m.d.sync += bits.eq(0)
        with m.If(too_high):
            m.d.sync += clamped.eq(~0)
        m.d.comb += self.new_weight.eq(Cat(clamped, sign).as_signed())
