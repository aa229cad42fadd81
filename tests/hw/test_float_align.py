"""Alignment of floating-point gradients against exact rationals, one per clock."""

from fractions import Fraction
from math import floor

import pytest

from hw import floats
from upshift.config import UnitConfig
from upshift.formats import Fixed, bfloat16, float32
from upshift_hw.align import FloatAlign, align

FORMATS = pytest.mark.parametrize("fmt", [bfloat16, float32], ids=str)
WEIGHTS = pytest.mark.parametrize(
    "weight",
    [Fixed(18, 16), Fixed(16, 12), Fixed(2, 0), Fixed(3, 3), Fixed(32, 0), Fixed(32, 32)],
    ids=str,
)


def aligned(word, rate, config):
    """Steps and whether the gradient is not finite."""
    exact = floats.value(word, config.gradient)
    if exact is None:
        return 0, 1
    limit = 1 << (config.weight.width + 1)
    steps = floor(exact * Fraction(2) ** (config.weight.fraction + 1 - rate))
    return min(max(steps, -limit), limit - 1), 0


def check(pipe, config, stages, cases):
    component = align(config, stages)
    assert isinstance(component, FloatAlign)
    inputs = [{"gradient": int(word), "rate": int(rate)} for word, rate in cases]
    results = pipe(component, inputs, ["steps", "nonfinite"], latency=component.latency)
    for (word, rate), result in zip(cases, results, strict=True):
        assert result == aligned(int(word), int(rate), config), f"{word:#x} at rate {rate}"


@FORMATS
@WEIGHTS
def test_corners_at_the_ends_of_all_rates(pipe, rng, fmt, weight):
    config = UnitConfig(weight=weight, gradient=fmt, max_rate=63)
    cases = [
        (word, rate)
        for word in rng.choice(floats.corners(fmt), 1000, replace=False)
        for rate in (0, 63)
    ]
    check(pipe, config, int(rng.integers(1, 4)), cases)


@pytest.mark.parametrize("stages", [1, 2, 3])
@FORMATS
@WEIGHTS
def test_random_patterns_where_steps_have_bits(pipe, rng, fmt, weight, stages):
    config = UnitConfig(weight=weight, gradient=fmt, max_rate=31)
    cases = []
    for _ in range(500):
        rate = int(rng.integers(32))
        # From a place below the steps' lowest bit to one above the highest.
        place = int(rng.integers(-3, weight.width + 4))
        exponent = 127 + rate - weight.fraction - 1 + place
        word = int(rng.integers(1 << fmt.mantissa)) >> int(rng.integers(fmt.mantissa + 1))
        word |= exponent << fmt.mantissa | int(rng.integers(2)) << (fmt.width - 1)
        cases.append((word, rate))
    check(pipe, config, stages, cases)
