"""Fixed-point formats against exact rationals and APyTypes; what all formats refuse."""

import math
import re
from fractions import Fraction

import numpy as np
import pytest
from apytypes import APyFixed, OverflowMode, QuantizationMode
from hypothesis import example, given
from hypothesis import strategies as st

from upshift.formats import Fixed, bfloat16, float32, parse

FLOATS = [bfloat16, float32]
finite = st.floats(allow_nan=False, allow_infinity=False)
fixed_formats = st.integers(2, 64).flatmap(
    lambda width: st.builds(Fixed, st.just(width), st.integers(0, width))
)


def half_up(value, fmt):
    """Raw word of an exact rational: floor(value * 2**fraction + 1/2), saturated."""
    raw = math.floor(Fraction(value) * 2**fmt.fraction + Fraction(1, 2))
    return min(max(raw, fmt.min), fmt.max)


# -- Fixed ----------------------------------------------------------------------------------------


def test_ties_go_towards_plus_infinity():
    values = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]
    assert Fixed(8, 0).encode(values).tolist() == [-2, -1, 0, 1, 2, 3]
    assert np.round(values).tolist() == [-2, -2, 0, 0, 2, 2], "numpy rounds ties to even"


def test_the_value_just_below_one_half_rounds_down():
    below = math.nextafter(0.5, 0)
    assert math.floor(below + 0.5) == 1, "adding one half rounds the sum"
    assert Fixed(8, 0).encode(below) == 0
    single = np.float32(0.49999997)
    assert np.floor(single + np.float32(0.5)) == 1
    assert Fixed(8, 0).encode(single) == 0
    assert Fixed(8, 0).encode(-math.nextafter(0.5, 1)) == -1


@pytest.mark.parametrize("width", [2, 3, 4, 5])
def test_small_formats_equal_rationals_everywhere(width):
    eighths = [Fraction(n, 8) for n in range(-8 * 40, 8 * 40)]
    for fraction in range(width + 1):
        fmt = Fixed(width, fraction)
        for scale in (1, 2**fraction):
            values = [eighth / scale for eighth in eighths]
            raw = fmt.encode([float(value) for value in values])
            assert raw.tolist() == [half_up(value, fmt) for value in values]


@given(fixed_formats, finite)
@example(Fixed(64, 0), 2.0**63)
@example(Fixed(64, 0), -(2.0**63))
@example(Fixed(64, 64), 0.5)
@example(Fixed(64, 64), math.nextafter(0.5, 0))
@example(Fixed(64, 0), 2.0**53 + 2)
@example(Fixed(64, 64), 1.7e308)
@example(Fixed(16, 12), 5e-324)
@example(Fixed(16, 12), -5e-324)
def test_encode_equals_rationals(fmt, value):
    raw, clipped = fmt.encode_counted(value)
    assert int(raw) == half_up(value, fmt)
    unlimited = math.floor(Fraction(value) * 2**fmt.fraction + Fraction(1, 2))
    assert clipped == (unlimited != int(raw))


@given(fixed_formats, st.floats(-4, 4, width=32))
def test_encode_equals_apytypes(fmt, value):
    exact = APyFixed.from_float(value, int_bits=4, frac_bits=149)
    oracle = exact.cast(
        int_bits=fmt.width - fmt.fraction,
        frac_bits=fmt.fraction,
        quantization=QuantizationMode.TIES_POS,
        overflow=OverflowMode.SAT,
    )
    assert int(fmt.encode(np.float32(value))) & ((1 << fmt.width) - 1) == oracle.to_bits()


@given(fixed_formats, st.integers(-(2**63), 2**64 - 1))
@example(Fixed(64, 0), 2**64 - 1)
@example(Fixed(64, 0), -(2**63))
@example(Fixed(64, 64), 0)
@example(Fixed(64, 63), -1)
@example(Fixed(18, 18), -1)
@example(Fixed(8, 2), 2**62)  # shifted left, it would wrap to zero
def test_encode_of_integers_equals_rationals(fmt, value):
    raw = fmt.encode(np.array([value], np.uint64 if value >= 2**63 else np.int64))
    assert raw.tolist() == [half_up(value, fmt)]


@pytest.mark.parametrize(
    "dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]
)
def test_encode_takes_every_integer_dtype_at_its_ends(dtype):
    ends = [np.iinfo(dtype).min, 0, 1, np.iinfo(dtype).max]
    for fmt in (Fixed(2, 0), Fixed(18, 16), Fixed(40, 3), Fixed(64, 0), Fixed(64, 64)):
        raw, clipped = fmt.encode_counted(np.array(ends, dtype))
        assert raw.dtype == np.int64
        assert raw.tolist() == [half_up(end, fmt) for end in ends]
        limits = (Fraction(fmt.min, 2**fmt.fraction), Fraction(fmt.max, 2**fmt.fraction))
        assert clipped == sum(not limits[0] <= end <= limits[1] for end in ends)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_infinities_saturate_and_count_as_clipped(dtype):
    fmt = Fixed(18, 16)
    raw, clipped = fmt.encode_counted(np.array([np.inf, -np.inf, 0.5], dtype))
    assert (raw.tolist(), clipped) == ([fmt.max, fmt.min, 1 << 15], 2)


@given(fixed_formats, st.data())
def test_decode_is_exact_or_refused(fmt, data):
    raw = data.draw(st.integers(fmt.min, fmt.max))
    magnitude = abs(raw)
    significant = magnitude.bit_length() - ((magnitude & -magnitude).bit_length() - 1)
    if raw and significant > 53:
        with pytest.raises(ValueError, match=f"raw word {raw} has more than 53 significant bits"):
            fmt.decode(raw)
    else:
        assert Fraction(float(fmt.decode(raw))) == Fraction(raw, 2**fmt.fraction)
        assert int(fmt.encode(fmt.decode(raw))) == raw


def test_decode_of_wide_words():
    fmt = Fixed(64, 0)
    assert fmt.decode([fmt.min, 2**62, -(2**53) + 1]).tolist() == [-(2.0**63), 2.0**62, 1 - 2.0**53]
    for word in (fmt.max, fmt.min + 1, 2**53 + 1):
        with pytest.raises(ValueError, match="53 significant bits"):
            fmt.decode([0, word])


@pytest.mark.parametrize("fmt", [Fixed(16, 12), bfloat16, float32], ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 1, 2)])
def test_shapes_are_kept(fmt, shape):
    raw = fmt.encode(np.full(shape, 0.25))
    assert (raw.shape, raw.dtype) == (shape, np.int64)
    values = fmt.decode(raw)
    assert (values.shape, values.dtype) == (shape, np.float64)
    assert (values == 0.25).all()


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", [Fixed(16, 12), *FLOATS], ids=str)
def test_nan_is_refused(fmt):
    with pytest.raises(ValueError, match=r"NaN has no (Fixed\(16, 12\)|bfloat16|float32) encoding"):
        fmt.encode([0.0, math.nan])


@pytest.mark.parametrize("fmt", [Fixed(16, 12), *FLOATS], ids=str)
@pytest.mark.parametrize(
    "values", [[True], [1j], ["1"], [None], np.zeros(2, np.longdouble), [2**64]], ids=repr
)
def test_other_dtypes_are_refused(fmt, values):
    with pytest.raises(TypeError, match="cannot be encoded: allowed are integers and float16"):
        fmt.encode(values)


@pytest.mark.parametrize(
    ("fmt", "raw", "message"),
    [
        (Fixed(4, 2), 8, r"raw word 8 is not a Fixed\(4, 2\): allowed are -8 to 7"),
        (Fixed(4, 2), -9, "raw word -9 "),
        (Fixed(64, 0), np.uint64(2**63), "raw word 9223372036854775808 "),
        (bfloat16, -1, "raw word -1 is not a bfloat16 bit pattern: allowed are 0 to 65535"),
        (bfloat16, 1 << 16, "raw word 65536 "),
        (float32, 1 << 32, "raw word 4294967296 is not a float32 bit pattern"),
    ],
)
def test_words_outside_the_format_are_refused(fmt, raw, message):
    for method in (fmt.decode, fmt.check):
        with pytest.raises(ValueError, match=message):
            method([raw])


@pytest.mark.parametrize("fmt", [Fixed(4, 2), *FLOATS], ids=str)
@pytest.mark.parametrize("raw", [[1.0], [True], [2**64]], ids=repr)
def test_raw_words_are_integers(fmt, raw):
    with pytest.raises(TypeError, match=r"raw words must be integers, not (float64|bool|object)"):
        fmt.decode(raw)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((1, 0), ValueError, "width 1 is not allowed: 2 to 64"),
        ((65, 0), ValueError, "width 65 is not allowed"),
        ((8, 9), ValueError, "fraction 9 is not allowed: 0 to the width, 8"),
        ((8, -1), ValueError, "fraction -1 is not allowed"),
        ((8.0, 1), TypeError, "width must be an int, not 8.0"),
        ((8, True), TypeError, "fraction must be an int, not True"),
        (("8", 1), TypeError, "width must be an int, not '8'"),
    ],
)
def test_impossible_formats(arguments, error, message):
    with pytest.raises(error, match=message):
        Fixed(*arguments)


# -- names ----------------------------------------------------------------------------------------


@given(fixed_formats)
def test_a_format_is_parsed_from_its_name(fmt):
    assert parse(str(fmt)) == fmt


def test_float_names():
    assert [parse(str(fmt)) for fmt in FLOATS] == FLOATS
    assert [fmt.width for fmt in FLOATS] == [16, 32]


@pytest.mark.parametrize(
    "text", ["", "18", "18.", ".16", "-18.16", "18.16.1", "float", "\uff11\uff18.1", "a.b"]
)
def test_other_names_are_refused(text):
    with pytest.raises(ValueError, match=f"{re.escape(repr(text))} names no format: allowed are"):
        parse(text)


def test_impossible_numbers_in_a_name():
    with pytest.raises(ValueError, match="fraction 20 is not allowed"):
        parse("18.20")
