"""q_min of a beat of floating-point gradients against the loop it replaces."""

from fractions import Fraction
from math import floor

import pytest

from hw import floats
from upshift.config import UnitConfig
from upshift.formats import bfloat16, float32
from upshift_hw.needed import FloatNeeded, needed_resolution

FORMATS = pytest.mark.parametrize("fmt", [bfloat16, float32], ids=str)


def loop(value, rate):
    """Raise q until floor(g * 2**(q-k) + 1/2) is not zero."""

    def step(q):
        return floor(value * Fraction(2) ** (q - rate) + Fraction(1, 2))

    # Steps are zero while |g| 2**(q-k) is below a quarter.
    q = rate - 3 + value.denominator.bit_length() - abs(value.numerator).bit_length()
    assert not step(q)
    while not step(q):
        q += 1
    return q


def check(pipe, config, cases):
    component = needed_resolution(config)
    assert isinstance(component, FloatNeeded)
    inputs = [{"gradients": words, "mask": mask, "rate": rate} for words, mask, rate in cases]
    results = pipe(component, inputs, ["valid", "needed"], latency=component.latency)
    for (words, mask, rate), (valid, needed) in zip(cases, results, strict=True):
        inside = [
            floats.value(word, config.gradient) for j, word in enumerate(words) if mask >> j & 1
        ]
        expected = min((loop(value, rate) for value in inside if value), default=None)
        assert (needed if valid else None) == expected, f"{words}, mask {mask}, rate {rate}"
        assert valid or needed == 0


@FORMATS
def test_every_corner_alone(pipe, rng, fmt):
    config = UnitConfig(lanes=1, depth=8, gradient=fmt, max_rate=20)
    cases = [([word], 1, int(rng.integers(21))) for word in floats.corners(fmt)]
    rng.shuffle(cases)
    check(pipe, config, cases)


@FORMATS
@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 32])
def test_random_beats_of_close_exponents(pipe, rng, fmt, lanes):
    config = UnitConfig(lanes=lanes, gradient=fmt, max_rate=63)
    cases = []
    for _ in range(200):
        # Subnormals, their neighbours, numbers of any size, and those close to infinity.
        low = int(rng.choice([0, 0, 1, int(rng.integers(250)), 252]))
        exponents = low + rng.integers(int(rng.choice([1, 2, 3])) + 1, size=lanes)
        mantissas = rng.integers(1 << fmt.mantissa, size=lanes) >> rng.integers(
            fmt.mantissa + 1, size=lanes
        )
        mantissas *= rng.integers(3, size=lanes) > 0  # powers of two
        signs = rng.integers(int(rng.choice([1, 2])) + 1, size=lanes) > 0  # all negative, or not
        words = signs << (fmt.width - 1) | exponents << fmt.mantissa | mantissas
        mask = int(rng.integers(1 << lanes)) if rng.integers(2) else (1 << lanes) - 1
        cases.append((words.tolist(), mask, int(rng.integers(64))))
    check(pipe, config, cases)


def test_a_beat_without_a_finite_gradient_is_not_valid(pipe):
    config = UnitConfig(lanes=4, gradient=bfloat16)
    cases = [
        ([0x7F80, 0xFF80, 0x7FC0, 0xFFFF], 0xF, 3),
        ([0x0000, 0x8000, 0x8000, 0x7F81], 0xF, 0),
        ([0x3F80, 0x8000, 0xBF80, 0x0000], 0xA, 0),
        ([0x3F80, 0x0001, 0xBF80, 0x0000], 0x2, 0),
    ]
    check(pipe, config, cases)
