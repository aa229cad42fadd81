"""Alignment: every value of small formats, random values of wide ones, one per clock."""

from fractions import Fraction
from itertools import product
from math import floor

import pytest

from upshift.config import UnitConfig
from upshift.formats import Fixed, bfloat16, float32
from upshift_hw.align import FixedAlign


def aligned(word, rate, config):
    weight, gradient = config.weight, config.gradient
    exact = word * Fraction(2) ** (weight.fraction + 1 - gradient.fraction - rate)
    limit = 1 << (weight.width + 1)
    return min(max(floor(exact), -limit), limit - 1)


def check(pipe, config, cases):
    inputs = [{"gradient": word, "rate": rate} for word, rate in cases]
    results = pipe(FixedAlign(config), inputs, ["steps"], latency=FixedAlign.latency)
    assert results == [(aligned(word, rate, config),) for word, rate in cases]


@pytest.mark.parametrize("gradient_fraction", range(5))
@pytest.mark.parametrize(("width", "fraction"), [(2, 0), (2, 2), (3, 1), (4, 4), (6, 3)])
def test_every_four_bit_gradient_at_every_rate(pipe, rng, width, fraction, gradient_fraction):
    config = UnitConfig(
        weight=Fixed(width, fraction), gradient=Fixed(4, gradient_fraction), max_rate=7
    )
    cases = list(product(range(-8, 8), range(8)))
    rng.shuffle(cases)
    check(pipe, config, [(int(word), int(rate)) for word, rate in cases])


@pytest.mark.parametrize(
    "config",
    [
        UnitConfig(),
        UnitConfig(weight=Fixed(32, 32), gradient=Fixed(32, 0), max_rate=63),
        UnitConfig(weight=Fixed(32, 0), gradient=Fixed(32, 32), max_rate=63),
        UnitConfig(weight=Fixed(2, 2), gradient=Fixed(32, 16), max_rate=20),
        UnitConfig(weight=Fixed(32, 20), gradient=Fixed(2, 1), max_rate=0),
    ],
    ids=lambda config: f"{config.weight}-{config.gradient}-{config.max_rate}",
)
def test_wide_formats(pipe, rng, config):
    low, high = config.gradient.min, config.gradient.max
    cases = [(word, k) for word in (low, -1, 0, 1, high) for k in (0, config.max_rate)]
    for _ in range(1000):
        word = int(rng.integers(low, high + 1) >> rng.integers(config.gradient.width))
        cases.append((word, int(rng.integers(config.max_rate + 1))))
    check(pipe, config, cases)


@pytest.mark.parametrize("gradient", [bfloat16, float32], ids=str)
def test_float_gradients_are_refused(gradient):
    with pytest.raises(
        ValueError, match=f"takes fixed-point gradients, not {gradient}: allowed are formats such"
    ):
        FixedAlign(UnitConfig(gradient=gradient))
