"""One lane of the datapath: round the aligned step, subtract it, clamp the weight.

    steps --> half bit --> ([H]) --> low bits = half bit --> [R] --> weight - R --> [D] --> clamp

Brackets are registers, those in parentheses depend on the pipeline's depth.

Rounding half up needs no adder: the bits below a step are replaced by copies of the half bit, the
highest of them. With one bit below the weight's point on both sides, the subtraction then borrows
exactly when the step is to be rounded up.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from upshift.config import UnitConfig
from upshift_hw.delay import later
from upshift_hw.pipeline import pipeline_of
from upshift_hw.shapes import shape_of


class Lane(wiring.Component):
    """Update one weight per clock.

    Parameters
    ----------
    config : UnitConfig

    Attributes
    ----------
    latency : int
        Clocks from `steps` to `new_weight`.
    weight_delay : int
        Clocks from `steps` to `weight`.
    low_delay : int
        Clocks from `steps` to `low`.

    Members
    -------
    steps : In
        Aligned step, B+2 bits, one bit below the weight's point.
    half : In
        Half a quantization step: the one bit F-q. With `steps`.
    low : In
        The bits from half a step downwards: 0 to F-q.
    weight : In
        Old weight.
    new_weight : Out
    nonzero : Out
        The quantized step is not zero; with `new_weight`.
    saturated : Out
        The weight was clamped; with `new_weight`.
    """

    def __init__(self, config: UnitConfig):
        self.config = config
        self._cuts = pipeline_of(config)
        self.weight_delay = self._cuts.round
        self.low_delay = self._cuts.round - 1
        self.latency = self._cuts.round + 1 + self._cuts.clamp
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

        # Two registers for one bit, since a look-up table has an input to spare for the second.
        found = self.steps & self.half
        middle = len(self.half) * 2 // 3
        half_bit = later(m, found[:middle].any(), self.low_delay, "half_bit_low")
        half_bit |= later(m, found[middle:].any(), self.low_delay, "half_bit_high")
        steps = later(m, self.steps, self.low_delay, "late_steps")
        low = Cat(self.low, 0).as_signed()
        rounded = (steps & ~low) | (low & half_bit.replicate(len(steps)).as_signed())
        step = Signal(signed(len(steps)))
        m.d.sync += step.eq(rounded)

        # The lowest bit of the difference has done its work by its borrow.
        difference = Signal(signed(fmt.width + 3))
        m.d.comb += difference.eq(Cat(0, self.weight).as_signed() - step)
        exact = later(m, difference[1:], self._cuts.clamp, "exact")

        # The rounded step is zero when all its bits are the same, which four by four bits tell
        # that have one in common with the next four.
        fours = (step[at : at + 4] for at in range(0, len(step) - 1, 3))
        differs = Cat(four.any() & ~four.all() for four in fours)

        # A number fits B bits when all bits from B-1 upwards are the same.
        moves = later(m, differs, self._cuts.clamp, "step_differs").any()
        top = exact[fmt.width - 1 :]
        overflow = top.any() & ~top.all()
        m.d.sync += [
            self.new_weight.eq(Mux(overflow, Mux(exact[-1], fmt.min, fmt.max), exact)),
            # A step of zero never overflows; saying so keeps weights that nobody knows yet out of
            # the count in simulation.
            self.saturated.eq(overflow & moves),
            self.nonzero.eq(moves),
        ]
        return m
