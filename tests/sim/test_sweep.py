"""The sweep of all pairs: complete, and able to fail."""

from collections import Counter

import pytest

from upshift.cli import main
from upshift.config import UnitConfig
from upshift.formats import Fixed, bfloat16
from upshift_sim import sweep as swept
from upshift_sim.sweep import sweep

SMALL = UnitConfig(
    lanes=4, weight=Fixed(8, 6), gradient=Fixed(9, 4), depth=256, max_rate=20, memory="streamed"
)
SETTINGS = [(0, 6), (0, 0), (3, 2), (12, 6), (20, 0)]


def test_all_pairs_are_equal(cache):
    for rate, resolution in SETTINGS:
        *_, last = sweep(SMALL, rate, resolution)
        assert last.pairs == 1 << (8 + 9)
        assert (last.mismatches, last.shown) == (0, [])


@pytest.mark.parametrize("fault", [1, 2])
def test_a_fault_is_found_and_shown(fault, cache):
    found = Counter()
    for rate, resolution in SETTINGS:
        *_, last = sweep(SMALL, rate, resolution, fault=fault)
        found["mismatches"] += last.mismatches
        found["shown"] += len(last.shown)
        assert all(" instead of " in line for line in last.shown)
    assert found["mismatches"] > found["shown"] > 0


def test_a_wrong_report_is_found_and_shown(cache, monkeypatch):
    """The unit refuses all bursts, which leaves weights as steps of zero do."""
    monkeypatch.setattr(swept, "check_resolution", lambda config, resolution: 7)
    *_, last = sweep(SMALL, 20, 0)
    assert last.mismatches
    assert "gradient -256: refusal is 2 instead of 0" in last.shown


@pytest.mark.parametrize(
    ("change", "rate", "message"),
    [
        ({"weight": Fixed(17, 6)}, 0, "17.6 with 9.4 cannot be swept: up to 16 bits each"),
        ({"gradient": bfloat16}, 0, "8.6 with bfloat16 cannot be swept"),
        ({"memory": "resident"}, 0, "a sweep needs streamed weights and a depth of 256"),
        ({"depth": 512}, 0, "a depth of 256, not streamed ones and 512"),
        ({}, 21, "rate exponent 21 is not allowed: 0 to 20"),
    ],
)
def test_what_cannot_be_swept_is_refused(change, rate, message):
    with pytest.raises(ValueError, match=message):
        next(sweep(UnitConfig(**vars(SMALL) | change), rate, 0))


@pytest.mark.parametrize("text", ["4", "4:x", "-1:2", ":"])
def test_a_setting_that_is_none_is_refused(text, capsys):
    assert main(["verify", f"--sweep={text}"]) == 2
    assert f"--sweep {text} is not allowed" in capsys.readouterr().err
