"""Alignment: every value of small formats, random values of wide ones, one per clock."""

from fractions import Fraction
from itertools import product
from math import floor

import pytest

from upshift.config import UnitConfig
from upshift.formats import Fixed, bfloat16
from upshift_hw.align import align

STAGES = pytest.mark.parametrize("stages", [1, 2, 3])


def aligned(word, rate, config):
    weight, gradient = config.weight, config.gradient
    exact = word * Fraction(2) ** (weight.fraction + 1 - gradient.fraction - rate)
    limit = 1 << (weight.width + 1)
    return min(max(floor(exact), -limit), limit - 1)


def check(pipe, config, stages, cases):
    inputs = [{"gradient": word, "rate": rate} for word, rate in cases]
    component = align(config, stages)
    assert component.latency == stages
    results = pipe(component, inputs, ["steps"], latency=stages)
    assert results == [(aligned(word, rate, config),) for word, rate in cases]


@STAGES
@pytest.mark.parametrize("gradient_fraction", range(5))
@pytest.mark.parametrize(
    "weight", [Fixed(2, 0), Fixed(2, 2), Fixed(3, 1), Fixed(4, 4), Fixed(6, 3)], ids=str
)
def test_every_four_bit_gradient_at_every_rate(pipe, rng, weight, gradient_fraction, stages):
    config = UnitConfig(weight=weight, gradient=Fixed(4, gradient_fraction), max_rate=7)
    cases = list(product(range(-8, 8), range(8)))
    rng.shuffle(cases)
    check(pipe, config, stages, [(int(word), int(rate)) for word, rate in cases])


@STAGES
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
def test_wide_formats(pipe, rng, config, stages):
    low, high = config.gradient.min, config.gradient.max
    cases = [(word, k) for word in (low, -1, 0, 1, high) for k in (0, config.max_rate)]
    for _ in range(500):
        word = int(rng.integers(low, high + 1) >> rng.integers(config.gradient.width))
        cases.append((word, int(rng.integers(config.max_rate + 1))))
    check(pipe, config, stages, cases)


@pytest.mark.parametrize("gradient", [Fixed(16, 12), bfloat16], ids=str)
@pytest.mark.parametrize("stages", [0, 4])
def test_it_takes_one_to_three_clocks(gradient, stages):
    with pytest.raises(ValueError, match=f"stages {stages} is not allowed: 1 to 3"):
        align(UnitConfig(gradient=gradient), stages)
