"""bfloat16 and float32 against IEEE 754 by hand and APyTypes: one rounding, to nearest even."""

import math
from fractions import Fraction

import numpy as np
import pytest
from apytypes import APyFloatArray
from hypothesis import given
from hypothesis import strategies as st

from upshift.formats import bfloat16, float32

FLOATS = [bfloat16, float32]
finite = st.floats(allow_nan=False, allow_infinity=False)


def nearest_even(value, fmt):
    """Bit pattern of the rational `value`: the nearest, of two the even one, written by hand."""
    value = Fraction(value)
    sign = (value < 0) << (fmt.width - 1)
    magnitude = abs(value)
    exponent = -126
    while magnitude >= 2 ** Fraction(exponent + 1):
        exponent += 1
    units = magnitude / Fraction(2) ** (exponent - fmt.mantissa)
    low = math.floor(units)
    rest = units - low
    low += rest > Fraction(1, 2) or (rest == Fraction(1, 2) and low & 1)
    word = ((exponent + 126) << fmt.mantissa) + low  # a carry moves into the exponent by itself
    return sign | min(word, 0xFF << fmt.mantissa)


def close_to_ties(fmt):
    """Float64 values at, just above and just below the ties of `fmt`."""

    def value(word, direction, negative):
        ulp = math.ldexp(1.0, max(word >> fmt.mantissa, 1) - 127 - fmt.mantissa)
        middle = float(fmt.decode(word)) + ulp / 2
        near = middle if direction is None else math.nextafter(middle, direction)
        return -near if negative else near

    words = st.integers(0, (0xFF << fmt.mantissa) - 1)
    return st.builds(value, words, st.sampled_from([None, 0.0, math.inf]), st.booleans())


@pytest.mark.parametrize("fmt", FLOATS, ids=str)
@given(st.data())
def test_float_encode_rounds_once_to_nearest_even(fmt, data):
    value = data.draw(finite | close_to_ties(fmt) | st.floats(-1e-37, 1e-37))
    word, clipped = fmt.encode_counted(value)
    if value:
        assert int(word) == nearest_even(value, fmt)
    assert clipped == math.isinf(fmt.decode(word))


@given(st.lists(finite | close_to_ties(bfloat16), min_size=1))
def test_bfloat16_encode_equals_apytypes(values):
    oracle = APyFloatArray.from_float(values, exp_bits=8, man_bits=7)
    assert bfloat16.encode(values).tolist() == oracle.to_bits()


def test_bfloat16_does_not_round_twice():
    # Just above a bfloat16 tie by less than float32 can see: rounding to float32 first makes it
    # a tie, and the tie goes to the even neighbour below.
    value = 1 + 2.0**-8 + 2.0**-40
    twice = int(np.float32(value).view(np.uint32))
    twice = (twice + 0x7FFF + (twice >> 16 & 1)) >> 16
    assert twice == 0x3F80
    assert bfloat16.encode([value, -value]).tolist() == [0x3F81, 0xBF81]


@pytest.mark.parametrize(
    ("fmt", "value", "word"),
    [
        (float32, 0.0, 0),
        (float32, -0.0, 1 << 31),
        (float32, 1.0, 0x3F800000),
        (float32, -2.0, 0xC0000000),
        (float32, math.inf, 0x7F800000),
        (float32, -math.inf, 0xFF800000),
        (float32, 2.0**-149, 1),
        (float32, -(2.0**-150), 1 << 31),  # a tie, to even: zero
        (float32, 1.5 * 2.0**-149, 2),  # a tie, to even: up
        (float32, 2.0**128, 0x7F800000),
        (float32, math.nextafter(2.0**128 - 2.0**103, 0), 0x7F7FFFFF),
        (float32, 2.0**128 - 2.0**103, 0x7F800000),
        (bfloat16, -0.0, 0x8000),
        (bfloat16, 2.0**-133, 1),
        (bfloat16, 2.0**-134, 0),
        (bfloat16, math.nextafter(2.0**-134, 1), 1),
        (bfloat16, -1e-320, 0x8000),
        (bfloat16, math.inf, 0x7F80),
        (bfloat16, 2.0**128 - 2.0**119, 0x7F80),
        (bfloat16, math.nextafter(2.0**128 - 2.0**119, 0), 0x7F7F),
    ],
)
def test_float_corners(fmt, value, word):
    assert int(fmt.encode(value)) == word


def test_overflow_to_infinity_is_counted_and_infinity_is_not():
    for fmt in FLOATS:
        word, clipped = fmt.encode_counted([1e39, -1e300, math.inf, 1.0])
        assert np.isinf(fmt.decode(word)).tolist() == [True, True, True, False]
        assert clipped == 2


def test_every_bfloat16_pattern_decodes_to_its_value_and_back():
    words = np.arange(1 << 16)
    values = bfloat16.decode(words)
    nan = np.isnan(values)
    assert nan.sum() == 2 * 127
    assert bfloat16.encode(values[~nan]).tolist() == words[~nan].tolist()
    for word in (1, 0x7F, 0x80, 0x3F80, 0x7F7F):
        exponent, mantissa = word >> 7, word & 0x7F
        exact = Fraction(mantissa | (exponent > 0) << 7) * Fraction(2) ** (max(exponent, 1) - 134)
        assert Fraction(values[word]) == exact == -Fraction(values[word | 0x8000])


@given(st.integers(0, 2**32 - 1))
def test_float32_patterns_decode_to_their_values_and_back(word):
    value = float(float32.decode(word))
    if math.isnan(value):
        assert word & 0x7FFFFFFF > 0x7F800000
    else:
        assert int(float32.encode(value)) == word


@pytest.mark.parametrize(
    ("fmt", "word"), [(float32, 0x7F800001), (float32, 0xFFBFFFFF), (bfloat16, 0x7F81)]
)
def test_signalling_nan_decodes_without_a_warning(fmt, word):
    assert np.isnan(fmt.decode([word])).all()


@pytest.mark.parametrize("fmt", FLOATS, ids=str)
def test_integers_that_float64_may_not_hold_are_refused(fmt):
    assert fmt.decode(fmt.encode([2**53, -(2**53)])).tolist() == [2.0**53, -(2.0**53)]
    for value in (2**53 + 1, -(2**53) - 1):
        with pytest.raises(ValueError, match=r"integers above 2\*\*53 in magnitude"):
            fmt.encode([0, value])
