"""Learning rates that are, and are not, a shift."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upshift.rates import device_exponent, exponent


def test_powers_of_two():
    assert [exponent(2.0**-k) for k in range(1075)] == list(range(1075))
    assert [device_exponent(2.0**-k, 31, "here") for k in range(32)] == list(range(32))


@pytest.mark.parametrize(
    "rate", [0.0, -0.0, -0.5, 2.0, 1.5, 0.1, math.inf, -math.inf, math.nan, math.nextafter(0.5, 0)]
)
def test_other_rates_have_no_exponent(rate):
    assert exponent(rate) is None
    with pytest.raises(ValueError, match=r"^group 3: a device cannot apply learning rate "):
        device_exponent(rate, 63, "group 3")


@given(st.floats(0, 1, exclude_min=True))
def test_an_exponent_is_exact(rate):
    k = exponent(rate)
    if k is None:
        assert math.frexp(rate)[0] != 0.5
    else:
        assert math.ldexp(1.0, -k) == rate


def test_message_names_the_nearest_two():
    with pytest.raises(
        ValueError, match=r"rate 0\.1: .*nearest are 0\.0625 \(2\*\*-4\) and 0\.125 \(2\*\*-3\)"
    ):
        device_exponent(0.1, 31, "parameter group 0")
    with pytest.raises(
        ValueError, match=r"0\.75: .*nearest are 0\.5 \(2\*\*-1\) and 1\.0 \(2\*\*0"
    ):
        device_exponent(0.75, 31, "x")


@pytest.mark.parametrize("rate", [2.0, 0.0, -1.0, math.nan, 2.0**-16])
def test_message_names_the_range(rate):
    with pytest.raises(ValueError, match=r"allowed are powers of two from 2\*\*-15 to 1"):
        device_exponent(rate, 15, "x")


def test_nearest_rates_that_are_named_are_allowed():
    """A rate below the smallest exponent must not be told to use another one that is refused."""
    with pytest.raises(ValueError, match=r"allowed are powers of two from 2\*\*-4 to 1"):
        device_exponent(0.01, 4, "x")
