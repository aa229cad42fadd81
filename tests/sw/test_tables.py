"""Tables for elsewhere: loaded back, and checked against the definition on rationals."""

import math
from fractions import Fraction

import numpy as np
import pytest

from upshift import rational, tables
from upshift.config import UnitConfig
from upshift.formats import Fixed, bfloat16, float32

CONFIGS = {
    "fixed": UnitConfig(weight=Fixed(8, 6), gradient=Fixed(9, 3)),
    "bfloat16": UnitConfig(gradient=bfloat16),
    "float32": UnitConfig(gradient=float32),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_vectors_survive_as_text_and_are_right(config, seed):
    vectors = tables.element_vectors(config, 300, seed)
    loaded = tables.from_hex(tables.to_hex(vectors))
    for name in tables.COLUMNS:
        assert np.array_equal(getattr(loaded, name), getattr(vectors, name))
    for w, g, k, q, new, nonzero, saturated, needed in zip(
        *(getattr(loaded, name).tolist() for name in tables.COLUMNS), strict=True
    ):
        value = float(config.gradient.decode([g])[0])
        if not math.isfinite(value):
            assert (new, nonzero, saturated, needed) == (w, 0, 0, tables.NOTHING_NEEDED)
            continue
        ulp = Fraction(1, 2**config.weight.fraction)
        exact = rational.step(w * ulp, Fraction(value), rate=k, resolution=q, fmt=config.weight)
        assert (new * ulp, nonzero, saturated) == exact
        assert (needed == tables.NOTHING_NEEDED) == (value == 0)


def test_the_tie_table_shows_the_difference():
    lines = tables.tie_table().splitlines()
    assert "| -0.5 | 0 | 0 | `0` |" in lines
    assert "| 0.5 | 1 | 0 | `1` |" in lines
    assert "| 2.5 | 3 | 2 | `3` |" in lines
    assert "| 7.5 | 8 | 8 | `7` (saturated) |" in lines
    assert "| 0.49999999999999994 | 0 | 0 | `0` |" in lines


@pytest.mark.parametrize(
    ("text", "message"),
    [("weight\n", "heading"), ("// " + " ".join(tables.COLUMNS) + "\n00 11\n", "line 2 has 2")],
)
def test_other_text_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        tables.from_hex(text)


def test_the_rational_loop_gives_up_on_zeros():
    assert rational.needed([Fraction(0)], 3, 50) is None
    assert rational.needed([Fraction(-1, 4)], 1, 50) == 3
