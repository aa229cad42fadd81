"""The lane: rounding, subtraction and clamping for every input of a small format."""

from fractions import Fraction
from itertools import product
from math import floor

import pytest

from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift_hw.lane import Lane


def outputs(steps, weight, resolution, fmt):
    """New weight, nonzero and saturated for an aligned step with one bit below the point."""
    unit = 1 << (fmt.fraction - resolution)
    quantized = floor(Fraction(steps, 2 * unit) + Fraction(1, 2)) * unit
    exact = weight - quantized
    new = min(max(exact, fmt.min), fmt.max)
    return new, int(quantized != 0), int(new != exact)


def check(pipe, fmt, cases, pipeline=5):
    inputs = []
    for steps, weight, resolution in cases:
        half = 1 << (fmt.fraction - resolution)
        high = -2 * half
        inputs.append({"steps": steps, "weight": weight, "half": half, "high": high, "touched": 1})
    lane = Lane(UnitConfig(weight=fmt, pipeline=pipeline))
    ports = ["new_weight", "nonzero", "saturated"]
    late = {"weight": lane.weight_delay, "high": lane.high_delay, "touched": lane.touched_delay}
    late |= dict.fromkeys(("nonzero", "saturated"), lane.changed - lane.latency)
    results = pipe(lane, inputs, ports, latency=lane.latency, late=late)
    assert results == [outputs(*case, fmt) for case in cases]


@pytest.mark.parametrize(("width", "fraction"), [(2, 0), (2, 2), (3, 2), (4, 0), (4, 2), (4, 4)])
def test_every_input_of_small_formats(pipe, rng, width, fraction):
    fmt = Fixed(width, fraction)
    limit = 1 << (width + 1)
    cases = list(product(range(-limit, limit), range(fmt.min, fmt.max + 1), range(fraction + 1)))
    rng.shuffle(cases)
    check(pipe, fmt, [tuple(map(int, case)) for case in cases])


@pytest.mark.parametrize(
    ("fmt", "pipeline"),
    [
        (Fixed(18, 16), 5),
        (Fixed(32, 32), 4),
        (Fixed(32, 0), 6),
        (Fixed(25, 24), 7),
        (Fixed(16, 12), 8),
        (Fixed(2, 1), 9),
    ],
    ids=str,
)
def test_wide_formats_and_every_depth(pipe, rng, fmt, pipeline):
    limit = 1 << (fmt.width + 1)
    ends = product((-limit, -1, 0, 1, limit - 1), (fmt.min, fmt.max), (0, fmt.fraction))
    cases = list(ends)
    for _ in range(1000):
        steps = int(rng.integers(-limit, limit) >> rng.integers(fmt.width + 2))
        weight = int(rng.integers(fmt.min, fmt.max + 1))
        cases.append((steps, weight, int(rng.integers(fmt.fraction + 1))))
    check(pipe, fmt, cases, pipeline)
