"""The integer model against rationals, APyTypes and the naive formulas that get it wrong."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from apytypes import APyFixedArray, OverflowMode, QuantizationMode
from hypothesis import example, given
from hypothesis import strategies as st

from upshift.config import UnitConfig
from upshift.formats import Fixed, bfloat16, float32
from upshift.reference import step
from upshift.report import UpdateReport

HALF = Fraction(1, 2)
narrow_formats = st.integers(2, 32).flatmap(
    lambda width: st.builds(Fixed, st.just(width), st.integers(0, width))
)


def unit(weight, gradient, **other):
    return UnitConfig(weight=weight, gradient=gradient, **other)


def steps_of(value, rate, resolution):
    """D of the equation, for an exact value."""
    return math.floor(Fraction(2) ** (resolution - rate) * value + HALF)


def clamp(value, fmt):
    return min(max(value, fmt.min), fmt.max)


def exact_value(word, fmt):
    """Rational that a gradient word stands for; None if it is not finite."""
    if isinstance(fmt, Fixed):
        return Fraction(word, 2**fmt.fraction)
    exponent = word >> fmt.mantissa & 0xFF
    if exponent == 0xFF:
        return None
    mantissa = word & ((1 << fmt.mantissa) - 1) | (exponent > 0) << fmt.mantissa
    value = mantissa * Fraction(2) ** (max(exponent, 1) - 127 - fmt.mantissa)
    return -value if word >> (fmt.width - 1) else value


def needed_by_loop(values, rate, lowest):
    """The paper's loop: raise q until some quantized step is not zero."""
    if not any(values):
        return None
    resolution = lowest
    while not any(steps_of(value, rate, resolution) for value in values):
        resolution += 1
    return resolution


def expected(config, weights, words, rate, resolution):
    """The update in rationals, and the counts of what happened."""
    new, nonzero, saturated, nonfinite = [], 0, 0, 0
    scale = 1 << (config.weight.fraction - resolution)
    for weight, word in zip(weights, words, strict=True):
        value = exact_value(word, config.gradient)
        steps = 0 if value is None else steps_of(value, rate, resolution)
        exact = weight - steps * scale
        new.append(clamp(exact, config.weight))
        nonzero += steps != 0
        saturated += new[-1] != exact
        nonfinite += value is None
    return new, (len(words), nonzero, saturated, nonfinite, 0)


def check(config, weights, words, rate, resolution):
    new, report = step(weights, words, config=config, rate=rate, resolution=resolution)
    oracle, counts = expected(config, weights, words, rate, resolution)
    assert new.dtype == np.int64
    assert new.tolist() == oracle
    assert (
        report.elements,
        report.nonzero,
        report.saturated,
        report.nonfinite,
        report.clipped,
    ) == counts
    return report


# -- fixed-point gradients ------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", range(5))
@pytest.mark.parametrize("gradient_fraction", range(5))
def test_every_case_of_four_bit_formats(fraction, gradient_fraction):
    config = unit(Fixed(4, fraction), Fixed(4, gradient_fraction), max_rate=9)
    pairs = list(product(range(-8, 8), repeat=2))
    weights, words = ([pair[i] for pair in pairs] for i in (0, 1))
    for rate, resolution in product(range(10), range(fraction + 1)):
        new, report = step(weights, words, config=config, rate=rate, resolution=resolution)
        scale = 1 << (fraction - resolution)
        table = {
            word: steps_of(Fraction(word, 2**gradient_fraction), rate, resolution)
            for word in range(-8, 8)
        }
        exact = [weight - table[word] * scale for weight, word in pairs]
        assert new.tolist() == [clamp(value, config.weight) for value in exact]
        assert report.nonzero == sum(table[word] != 0 for word in words)
        assert report.saturated == sum(not -8 <= value <= 7 for value in exact)


@given(narrow_formats, narrow_formats, st.integers(0, 63), st.data())
def test_wide_formats_equal_rationals(weight, gradient, rate, data):
    config = unit(weight, gradient, max_rate=63)
    resolution = data.draw(st.integers(0, weight.fraction))
    ends = st.sampled_from([weight.min, weight.max])
    powers = st.integers(0, gradient.width - 2).map(lambda bit: 1 << bit)
    pairs = data.draw(
        st.lists(
            st.tuples(
                ends | st.integers(weight.min, weight.max),
                st.integers(gradient.min, gradient.max) | powers | powers.map(lambda word: -word),
            ),
            min_size=1,
            max_size=12,
        )
    )
    weights, words = ([pair[i] for pair in pairs] for i in (0, 1))
    report = check(config, weights, words, rate, resolution)
    values = [Fraction(word, 2**gradient.fraction) for word in words]
    assert report.resolution_needed == needed_by_loop(values, rate, config.needed_range[0])


@given(narrow_formats, narrow_formats, st.integers(0, 31), st.data())
def test_wide_formats_equal_apytypes(weight, gradient, rate, data):
    resolution = data.draw(st.integers(0, weight.fraction))
    weights = data.draw(st.lists(st.integers(weight.min, weight.max), min_size=1, max_size=8))
    words = [data.draw(st.integers(gradient.min, gradient.max)) for _ in weights]

    def fixed(raw, fmt, shift=0):
        bits = [word & ((1 << fmt.width) - 1) for word in raw]
        fraction = fmt.fraction + shift
        return APyFixedArray(bits, int_bits=fmt.width - fraction, frac_bits=fraction)

    quantized = fixed(words, gradient, rate).cast(
        int_bits=40, frac_bits=resolution, quantization=QuantizationMode.TIES_POS
    )
    oracle = (fixed(weights, weight) - quantized).cast(
        int_bits=weight.width - weight.fraction,
        frac_bits=weight.fraction,
        overflow=OverflowMode.SAT,
    )
    new, _ = step(weights, words, config=unit(weight, gradient), rate=rate, resolution=resolution)
    assert [word & ((1 << weight.width) - 1) for word in new.tolist()] == oracle.to_bits()


def test_ties_of_both_signs():
    config = unit(Fixed(8, 4), Fixed(8, 5))
    # At resolution 4 and rate 0 one step is two raw gradients.
    new, report = step([0] * 6, [1, -1, 3, -3, 5, -5], config=config, rate=0, resolution=4)
    assert new.tolist() == [-1, 0, -2, 1, -3, 2]
    assert report.nonzero == 5
    to_even = [-int(np.round(word / 2)) for word in (1, -1, 3, -3, 5, -5)]
    assert to_even != new.tolist(), "rounding to even is another rule"


# -- why the datapath is as wide as it is ---------------------------------------------------------


def through_datapath(weight, word, config, rate, resolution, *, spare, below=1):
    """Align with `below` bits below the weight's point, saturate to B+`spare` bits, round."""
    fmt = config.weight
    scaled = exact_value(word, config.gradient) * Fraction(2) ** (fmt.fraction + below - rate)
    limit = 1 << (fmt.width + spare - 2 + below)
    aligned = min(max(math.floor(scaled), -limit), limit - 1)
    unit_step = 1 << (fmt.fraction - resolution + below)
    rounded = (aligned + unit_step // 2) // unit_step * unit_step
    return clamp(weight - (rounded >> below), fmt)


@pytest.mark.parametrize("fraction", range(5))
def test_two_spare_bits_are_enough_and_one_is_not(fraction):
    config = unit(Fixed(4, fraction), Fixed(7, 1), max_rate=3)
    wrong = {0: 0, 1: 0, 2: 0, 3: 0}
    for weight, word, rate, resolution in product(
        (-8, -7, -1, 0, 6, 7), range(-64, 64), range(4), range(fraction + 1)
    ):
        (right,), _ = expected(config, [weight], [word], rate, resolution)
        for spare in wrong:
            got = through_datapath(weight, word, config, rate, resolution, spare=spare)
            wrong[spare] += got != right
    assert wrong[1] > 0
    assert wrong[0] > 0
    assert wrong[2] == wrong[3] == 0


def test_one_bit_below_the_point_is_enough_and_none_is_not():
    config = unit(Fixed(6, 3), Fixed(6, 5), max_rate=2)
    wrong = {0: 0, 1: 0}
    for word, rate, resolution in product(range(-32, 32), range(3), range(4)):
        (right,), _ = expected(config, [0], [word], rate, resolution)
        for below in wrong:
            got = through_datapath(0, word, config, rate, resolution, spare=2, below=below)
            wrong[below] += got != right
    assert wrong[1] == 0
    assert wrong[0] > 0


def test_left_shift_does_not_overflow_int64():
    config = unit(Fixed(32, 32), Fixed(32, 0), max_rate=63)
    words = [-(2**31), 2**31 - 1, -(2**30), 1]
    assert np.int64(-(2**31)) << 33 == 0, "the shift alone wraps"
    report = check(config, [0, 0, 5, -1], words, 0, 32)
    assert report.saturated == 4


@pytest.mark.parametrize("exponent", [0, 20, 60, 100, 127])
def test_large_float_gradients_do_not_overflow_int64(exponent):
    config = unit(Fixed(32, 32), float32)
    words = float32.encode([2.0**exponent, -(2.0**exponent), 1.75 * 2.0**exponent]).tolist()
    with np.errstate(over="ignore"):
        wrapped = np.int64(1 << 23) << np.int64(min(exponent - 23 + 33, 63))
    assert (wrapped > 0) == (exponent < 30), "the shift alone wraps"
    report = check(config, [0, 0, config.weight.min], words, 0, 32)
    assert report.saturated == 3


def test_narrow_integer_arrays_do_not_wrap():
    config = unit(Fixed(16, 0), Fixed(16, 0))
    weights, words = np.array([32767], np.int16), np.array([-32768], np.int16)
    assert (weights - words)[0] == -1, "int16 arithmetic wraps silently"
    new, report = step(weights, words, config=config, rate=0, resolution=0)
    assert (new.tolist(), report.saturated) == ([32767], 1)


def test_nonzero_counts_steps_even_where_the_weight_cannot_move():
    config = unit(Fixed(8, 0), Fixed(8, 0))
    new, report = step([127, -128], [-1, 1], config=config, rate=0, resolution=0)
    assert new.tolist() == [127, -128]
    assert report == UpdateReport(2, 2, 2, 0, 0, -1)


# -- float gradients ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weight", "rate", "resolution"),
    [(Fixed(18, 16), 0, 16), (Fixed(18, 16), 7, 3), (Fixed(4, 4), 31, 4), (Fixed(32, 0), 0, 0)],
)
def test_every_bfloat16_gradient(weight, rate, resolution):
    config = unit(weight, bfloat16)
    words = np.arange(1 << 16)
    for start in (0, weight.max, weight.min):
        report = check(config, [start] * words.size, words.tolist(), rate, resolution)
        assert report.nonfinite == 2 * 128


@given(
    narrow_formats,
    st.integers(0, 63),
    st.lists(st.integers(0, 2**32 - 1) | st.floats(width=32, allow_nan=False), min_size=1),
    st.data(),
)
@example(Fixed(32, 32), 0, [1, 1 << 31, (1 << 31) + 1, 0x7F800000, 0x7FC00000], None)
def test_float32_gradients_equal_rationals(weight, rate, gradients, data):
    config = unit(weight, float32, max_rate=63)
    resolution = data.draw(st.integers(0, weight.fraction)) if data else weight.fraction
    words = [g if isinstance(g, int) else int(float32.encode(g)) for g in gradients]
    start = data.draw(st.integers(weight.min, weight.max)) if data else weight.min
    check(config, [start] * len(words), words, rate, resolution)


@pytest.mark.parametrize("fmt", [bfloat16, float32], ids=str)
def test_nonfinite_gradients_leave_their_weights_and_no_other_trace(fmt):
    config = unit(Fixed(8, 4), fmt)
    infinity = 0xFF << fmt.mantissa
    sign = 1 << (fmt.width - 1)
    words = [infinity, infinity | sign, infinity | 1, infinity | sign | 1, int(fmt.encode(1.0))]
    new, report = step([3] * 5, words, config=config, rate=0, resolution=4)
    assert new.tolist() == [3, 3, 3, 3, 3 - 16]
    assert report == UpdateReport(5, 1, 0, 4, 0, -1)
    _, report = step([3] * 4, words[:4], config=config, rate=0, resolution=4)
    assert report == UpdateReport(4, 0, 0, 4, 0, None)


@pytest.mark.parametrize("fmt", [bfloat16, float32], ids=str)
def test_zeros_of_both_signs_and_the_smallest_subnormals(fmt):
    config = unit(Fixed(8, 4), fmt)
    sign = 1 << (fmt.width - 1)
    new, report = step([3] * 4, [0, sign, 1, sign | 1], config=config, rate=0, resolution=4)
    assert new.tolist() == [3] * 4
    smallest = 1 - 127 - fmt.mantissa
    assert report == UpdateReport(4, 0, 0, 0, 0, -(smallest + 1))
