"""q_min: the closed form equals the loop that raises q until some step is not zero."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from upshift.config import UnitConfig
from upshift.formats import Fixed, bfloat16, float32
from upshift.reference import step


def integer_steps(numerator, power):
    """floor(numerator * 2**power + 1/2) on plain integers."""
    if power >= 0:
        return numerator << power
    return ((numerator << 1) + (1 << -power)) >> (1 - power)


def loop(terms, rate, lowest):
    """Raise q from `lowest` until some step is not zero; a term (n, e) stands for n * 2**e."""
    if not any(numerator for numerator, _ in terms):
        return None
    q = lowest
    while not any(integer_steps(n, e + q - rate) for n, e in terms):
        q += 1
    return q


def fixed_terms(words, fmt):
    return [(word, -fmt.fraction) for word in words]


def float_terms(words, fmt):
    terms = []
    for word in words:
        exponent = word >> fmt.mantissa & 0xFF
        if exponent != 0xFF:
            mantissa = word & ((1 << fmt.mantissa) - 1) | (exponent > 0) << fmt.mantissa
            negative = word >> (fmt.width - 1)
            scale = max(exponent, 1) - 127 - fmt.mantissa
            terms.append((-mantissa if negative else mantissa, scale))
    return terms


def needed(words, config, rate):
    weights = np.zeros(len(words), int)
    return step(weights, words, config=config, rate=rate, resolution=0)[1].resolution_needed


def test_the_integer_oracle_equals_rationals():
    for numerator in range(-40, 41):
        for power in range(-8, 4):
            exact = floor(numerator * Fraction(2) ** power + Fraction(1, 2))
            assert integer_steps(numerator, power) == exact


@pytest.mark.parametrize("fraction", range(6))
def test_every_pair_of_five_bit_gradients(fraction):
    config = UnitConfig(gradient=Fixed(5, fraction), max_rate=3)
    low, high = config.needed_range
    seen = set()
    for first in range(-16, 16):
        for second in range(-16, 16):
            rate = (first + second) % 4
            result = needed([first, second], config, rate)
            assert result == loop(fixed_terms([first, second], config.gradient), rate, low - 1)
            seen.add(result)
    assert min(seen - {None}) >= low
    assert max(seen - {None}) <= high
    assert None in seen


def test_random_fixed_vectors(rng):
    for _ in range(3000):
        width = int(rng.integers(2, 33))
        fmt = Fixed(width, int(rng.integers(width + 1)))
        config = UnitConfig(gradient=fmt, max_rate=63)
        words = rng.integers(fmt.min, fmt.max + 1, rng.integers(1, 9)) >> rng.integers(width)
        words[rng.random(words.size) < 0.3] = 0
        rate = int(rng.integers(64))
        terms = fixed_terms(words.tolist(), fmt)
        assert needed(words, config, rate) == loop(terms, rate, config.needed_range[0] - 1)


@pytest.mark.parametrize("fmt", [bfloat16, float32], ids=str)
def test_random_float_vectors(rng, fmt):
    config = UnitConfig(gradient=fmt, max_rate=63)
    low, high = config.needed_range
    for _ in range(1500):
        words = rng.integers(0, 1 << fmt.width, rng.integers(1, 7))
        if rng.random() < 0.5:  # exact powers of two, of both signs
            words &= ~((1 << fmt.mantissa) - 1)
        if rng.random() < 0.3:  # subnormals
            words &= ~(0xFF << fmt.mantissa)
        rate = int(rng.integers(64))
        result = needed(words, config, rate)
        assert result == loop(float_terms(words.tolist(), fmt), rate, low - 1)
        assert result is None or low <= result <= high


@pytest.mark.parametrize("fmt", [bfloat16, float32], ids=str)
def test_every_float_power_of_two(fmt):
    config = UnitConfig(gradient=fmt)
    for power in range(-126 - fmt.mantissa, 128):
        for sign in (1, -1):
            word = int(fmt.encode(sign * 2.0**power))
            # +1/2 rounds up to one, -1/2 rounds up to zero.
            assert needed([word], config, 5) == 5 - power - (sign > 0)


def test_negative_ties_need_the_exclusive_or():
    """A negative power of two is a tie one step too early: its magnitude alone is misleading."""
    config = UnitConfig(gradient=Fixed(8, 4), max_rate=7)
    for power in range(7):
        for word in (1 << power, -(1 << power)):
            by_magnitude = 4 - ((2 * abs(word)).bit_length() - 1)
            right = loop([(word, -4)], 0, -9)
            assert needed([word], config, 0) == right
            assert (by_magnitude == right) == (word > 0)


@pytest.mark.parametrize("gradient", [Fixed(16, 12), bfloat16, float32], ids=str)
def test_zero_gradients_need_nothing(gradient):
    config = UnitConfig(gradient=gradient)
    assert needed([0, 0, 0], config, 3) is None


def test_extremes_of_the_field():
    config = UnitConfig(gradient=float32, max_rate=20)
    assert needed([1], config, 20) == 168
    assert needed([0x80000001], config, 20) == 169 == config.needed_range[1]
    assert needed([0x7F7FFFFF], config, 0) == -128 == config.needed_range[0]
    assert needed([0xFF000000], config, 0) == -127
