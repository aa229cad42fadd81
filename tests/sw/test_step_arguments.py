"""What `step` takes, leaves alone and refuses."""

import math

import numpy as np
import pytest

from upshift.config import UnitConfig
from upshift.formats import Fixed, bfloat16
from upshift.reference import step

CONFIG = UnitConfig(weight=Fixed(8, 4), gradient=Fixed(8, 4), max_rate=7)
GOOD = {"config": CONFIG, "rate": 0, "resolution": 4}


@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3), (1, 0, 2)])
def test_any_shape(shape):
    new, report = step(np.ones(shape, int), np.ones(shape, np.int8), **GOOD)
    assert (new.shape, new.dtype) == (shape, np.int64)
    assert not new.any()
    assert report.elements == report.nonzero == math.prod(shape)
    assert report.resolution_needed == (3 if report.elements else None)


def test_arguments_are_not_changed():
    weights, words = np.arange(4), np.arange(4)
    new, _ = step(weights, words, **GOOD)
    assert weights.tolist() == words.tolist() == [0, 1, 2, 3]
    assert not np.shares_memory(new, weights)


@pytest.mark.parametrize(
    ("weights", "words", "change", "error", "message"),
    [
        (
            [0, 0],
            [0],
            {},
            ValueError,
            r"weights of shape \(2,\) and gradients of shape \(1,\) differ",
        ),
        ([[0]], [0], {}, ValueError, r"shape \(1, 1\) and gradients of shape \(1,\)"),
        ([128], [0], {}, ValueError, r"raw word 128 is not a Fixed\(8, 4\)"),
        ([0], [-129], {}, ValueError, "raw word -129 is not"),
        ([0.0], [0], {}, TypeError, "raw words must be integers, not float64"),
        ([0], [0.0], {}, TypeError, "raw words must be integers, not float64"),
        ([0], [0], {"rate": 8}, ValueError, "rate exponent 8 is not allowed: 0 to 7"),
        ([0], [0], {"rate": -1}, ValueError, "rate exponent -1 is not allowed"),
        (
            [0],
            [0],
            {"resolution": 5},
            ValueError,
            "resolution 5 is not allowed: 0 to the weights' 4",
        ),
        ([0], [0], {"resolution": -1}, ValueError, "resolution -1 is not allowed"),
    ],
)
def test_bad_arguments(weights, words, change, error, message):
    with pytest.raises(error, match=message):
        step(weights, words, **(GOOD | change))


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint64, np.int64])
@pytest.mark.parametrize("gradient", [Fixed(32, 28), bfloat16], ids=str)
def test_rate_and_resolution_may_be_integers_of_numpy(gradient, kind):
    """Such integers are as narrow as they look: uint8 5 - 10 is 251."""
    config = UnitConfig(weight=Fixed(32, 20), gradient=gradient)
    weights, words = [0, 5, -5, 7], [0x3F80, 0x4000, 0x4180, 0x0001]
    expected = step(weights, words, config=config, rate=19, resolution=20)
    found = step(weights, words, config=config, rate=kind(19), resolution=kind(20))
    assert found[0].tolist() == expected[0].tolist()
    assert found[1] == expected[1]


@pytest.mark.parametrize("change", [{"rate": 1.0}, {"rate": "1"}, {"resolution": 2.0}])
def test_rate_and_resolution_are_integers(change):
    with pytest.raises(TypeError):
        step([1], [1], **(GOOD | change))
