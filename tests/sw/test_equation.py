"""The learning equation in torch: exact, with every trap it avoids shown to be one."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from upshift import equation, rational, reference
from upshift.config import UnitConfig
from upshift.formats import Fixed, bfloat16, float32

DTYPES = (torch.float32, torch.float64)


def test_ties_round_up_where_torch_rounds_to_even():
    ties = torch.tensor([-1.5, -0.5, 0.5, 1.5])
    assert equation.quantize(ties, 0).tolist() == [-1.0, 0.0, 1.0, 2.0]
    assert ties.round().tolist() == [-2.0, 0.0, 0.0, 2.0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_just_below_one_half_rounds_down_where_the_sum_would_round(dtype):
    below = torch.nextafter(torch.tensor(0.5, dtype=dtype), torch.tensor(0.0, dtype=dtype))
    assert (below + 0.5).floor() == 1.0  # the naive form
    assert equation.quantize(below, 0) == 0.0


def test_integers_beyond_the_mantissa_stay_what_they_are():
    odd = torch.tensor([2.0**23 + 1, -(2.0**23) - 1])
    assert ((odd + 0.5).floor() != odd).any()  # the naive form
    assert torch.equal(equation.quantize(odd, 0), odd)


def test_values_that_overflow_when_scaled_are_on_the_grid_already():
    huge = torch.tensor([3e38, -3e38, float("inf"), float("-inf")])
    assert torch.equal(equation.quantize(huge, 20), huge)
    assert equation.quantize(torch.tensor([float("nan")]), 3).isnan().all()


def test_int16_arithmetic_would_wrap():
    weight, step = torch.tensor([32767], dtype=torch.int16), torch.tensor([-1], dtype=torch.int16)
    assert (weight - step).item() == -32768  # what a narrow implementation would store
    new, report = equation.step(
        torch.tensor([32767.0]), torch.tensor([-1.0]), lr=1.0, resolution=0, weight=Fixed(16, 0)
    )
    assert new.item() == 32767.0
    assert report.saturated == 1


@given(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.integers(0, 64),
    st.sampled_from(DTYPES),
)
def test_quantize_is_the_rational_quantizer(value, resolution, dtype):
    x = torch.tensor([value], dtype=dtype)
    exact = rational.quantize(Fraction(value), resolution)
    assert Fraction(equation.quantize(x, resolution).item()) == exact


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gradient", [Fixed(4, 2), Fixed(5, 0), Fixed(3, 3)])
def test_step_is_the_integer_model_for_all_weights_gradients_rates_and_resolutions(dtype, gradient):
    config = UnitConfig(lanes=1, weight=Fixed(5, 3), gradient=gradient, depth=16)
    weights = np.arange(config.weight.min, config.weight.max + 1)
    gradients = np.arange(gradient.min, gradient.max + 1)
    w, g = (a.ravel() for a in np.meshgrid(weights, gradients))
    for rate in range(6):
        for resolution in range(config.max_resolution + 1):
            expected, report = reference.step(w, g, config=config, rate=rate, resolution=resolution)
            new, told = equation.step(
                torch.from_numpy(config.weight.decode(w)).to(dtype),
                torch.from_numpy(gradient.decode(g)).to(dtype),
                lr=2.0**-rate,
                resolution=resolution,
                weight=config.weight,
            )
            assert np.array_equal(config.weight.encode(new.numpy()), expected)
            assert told == report


@pytest.mark.parametrize("fmt", [Fixed(18, 16), Fixed(32, 8), Fixed(32, 32), bfloat16, float32])
@pytest.mark.parametrize("dtype", DTYPES)
def test_step_is_the_integer_model_on_random_tensors(fmt, dtype, seed):
    config = UnitConfig(lanes=1, weight=Fixed(24, 20), gradient=fmt, depth=4096)
    rng = np.random.default_rng(seed)
    for _ in range(20):
        w = rng.integers(config.weight.min, config.weight.max, 500, endpoint=True)
        h = rng.normal(size=500) * 2.0 ** rng.integers(-30, 8, 500)
        h = torch.from_numpy(h).to(dtype)
        rate, resolution = int(rng.integers(0, 12)), int(rng.integers(0, 21))
        raw = fmt.encode(h.numpy())
        expected, report = reference.step(w, raw, config=config, rate=rate, resolution=resolution)
        new, told = equation.step(
            torch.from_numpy(config.weight.decode(w)).to(dtype),
            h,
            lr=2.0**-rate,
            resolution=resolution,
            weight=config.weight,
            gradient=fmt,
        )
        assert np.array_equal(config.weight.encode(new.numpy()), expected)
        assert told.resolution_needed == report.resolution_needed
        assert (told.nonzero, told.saturated) == (report.nonzero, report.saturated)


@pytest.mark.parametrize("fmt", [Fixed(4, 2), Fixed(25, 12), Fixed(30, 28), bfloat16, float32])
@pytest.mark.parametrize("dtype", DTYPES)
def test_encode_is_the_formats_own(fmt, dtype, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=4000) * 2.0 ** rng.integers(-140, 128, 4000)
    special = [0.0, -0.0, 1e-45, 3.4e38, -3.4e38, 2.0**-140, 0.5, -0.5]
    x = torch.from_numpy(np.concatenate([values, special])).to(dtype)
    x = x[x.isfinite()]
    encoded, clipped = equation.encode(x, fmt)
    raw, expected = fmt.encode_counted(x.numpy())
    assert np.array_equal(fmt.decode(raw), encoded.double().numpy())
    assert clipped == expected


def test_bfloat16_of_a_double_is_rounded_once():
    x = 1 + 2.0**-8 + 2.0**-40  # just above the tie between two bfloat16 neighbours
    twice = torch.tensor([x], dtype=torch.float64).float().bfloat16().item()
    once = equation.encode(torch.tensor([x], dtype=torch.float64), bfloat16)[0].item()
    assert (twice, once) == (1.0, 1 + 2.0**-7)


def test_nonfinite_directions_leave_their_weights_and_are_counted():
    w = torch.tensor([0.5, 0.5, 0.5])
    h = torch.tensor([float("inf"), float("nan"), 1.0])
    new, report = equation.step(w, h, lr=0.25, resolution=4, weight=Fixed(8, 6))
    assert new.tolist() == [0.5, 0.5, 0.25]
    assert (report.nonfinite, report.nonzero, report.resolution_needed) == (2, 1, 1)


def test_overflow_in_the_gradient_format_is_clipped_or_nonfinite():
    w, h = torch.zeros(2), torch.tensor([3.4e38, 100.0])
    _, fixed = equation.step(w, h, lr=1.0, resolution=2, weight=Fixed(7, 4), gradient=Fixed(8, 4))
    assert (fixed.clipped, fixed.nonfinite, fixed.saturated) == (2, 0, 2)
    _, floating = equation.step(w, h, lr=1.0, resolution=2, weight=Fixed(7, 4), gradient=bfloat16)
    assert (floating.clipped, floating.nonfinite, floating.saturated) == (1, 1, 1)


def test_a_rate_that_is_no_power_of_two_is_rounded_once():
    w, h = torch.zeros(1000), torch.rand(1000, generator=torch.Generator().manual_seed(1))
    new, report = equation.step(w, h, lr=0.3, resolution=9)
    assert torch.equal(new, -equation.quantize(h * 0.3, 9))
    assert report.resolution_needed == equation.scale(h * 0.3, 1.0).needed


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"h": torch.zeros(3)}, ValueError, "differ"),
        ({"h": torch.zeros(2, dtype=torch.float64)}, ValueError, "torch.float64"),
        ({"weight": Fixed(26, 0)}, ValueError, "26 bits: up to 25"),
        ({"resolution": 65}, ValueError, "resolution 65 is not allowed: 0 to 64"),
        ({"weight": Fixed(8, 4), "resolution": 5}, ValueError, "exceeds the weights' 4 fraction"),
        ({"w": torch.zeros(2).half(), "h": torch.zeros(2).half()}, TypeError, "float16"),
    ],
)
def test_bad_input_is_refused(arguments, error, message):
    good = {"w": torch.zeros(2), "h": torch.zeros(2), "lr": 0.5, "resolution": 3}
    given_values = good | arguments
    with pytest.raises(error, match=message):
        equation.step(given_values.pop("w"), given_values.pop("h"), **given_values)


def test_widest_fixed_names_what_it_takes():
    assert equation.widest_fixed(torch.float32) == 25
    assert equation.widest_fixed(torch.float64) == 54
    with pytest.raises(TypeError, match=r"torch.bfloat16 is not allowed: torch.float32"):
        equation.widest_fixed(torch.bfloat16)


@pytest.mark.parametrize(("dtype", "width"), [(torch.float32, 25), (torch.float64, 54)])
def test_saturation_is_counted_where_the_difference_rounds(dtype, width):
    fmt = Fixed(width, 16)
    ulp = 2.0**-16
    ends = torch.tensor([fmt.min * ulp, fmt.max * ulp], dtype=dtype)
    steps = torch.tensor([ulp, -ulp], dtype=dtype)
    assert (ends - steps)[0] == ends[0]  # just outside, rounded to the end
    for w, h, saturated in ((ends, steps, 2), (ends, -steps, 0), (ends, ends, 0)):
        new, report = equation.step(w, h, lr=1.0, resolution=16, weight=fmt)
        assert report.saturated == saturated
        assert new.min() >= ends[0]
        assert new.max() <= ends[1]


def test_what_torch_cannot_hold_is_refused():
    with pytest.raises(ValueError, match=r"60.0 is too wide for torch"):
        equation.encode(torch.zeros(1), Fixed(60, 0))
    scaled = equation.scale(torch.ones(1), 1.0)
    with pytest.raises(ValueError, match="resolution 9 exceeds the weights' 8"):
        equation.apply(torch.zeros(1), scaled, 9, Fixed(10, 8))
