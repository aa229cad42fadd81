"""Formats, what bursts did in them, what is lost, and what q_min foretells."""

import math
from dataclasses import replace

import pytest

from upshift.experiments import forensics, learning, precision, precision_report
from upshift.report import UpdateReport
from upshift.resolution import Band, Constant

QUICK = precision.EXPERIMENT.quick


def cell(**changes):
    plain = {
        "optimizer": "SGD",
        "rate": 2,
        "policy": precision_report.FLOAT,
        "seed": 0,
        "epochs": 1,
    }
    return plain | {"width": None, "fraction": None} | changes


def test_the_full_form_has_formats_of_8_to_24_bits():
    cells = precision.plan(precision.EXPERIMENT.full, [])
    widths = {cell["width"] for cell in cells} - {None}
    assert (min(widths), max(widths)) == (8, 24)
    assert {cell["policy"] for cell in cells} == {
        precision_report.FLOAT, precision_report.OWN, precision_report.BAND,
    }  # fmt: skip
    assert all(cell["fraction"] < cell["width"] for cell in cells if cell["width"])


def test_floats_are_not_quantized():
    found = precision.measure(cell())[0]
    plain = forensics.measure({"arm": "SGD", "rate": 2, "seed": 0, "epochs": 1})[-1]
    assert found["accuracy"] == plain["accuracy"]
    assert found["q"] == 64
    assert found["blocked"] == 0


def test_a_format_without_room_blocks_its_bursts():
    found = precision.measure(cell(rate=9, policy=precision_report.OWN, width=6, fraction=4))[0]
    assert found["needed"] > 4
    assert found["idle"] >= found["blocked"] > 0.9
    assert found["zero"] > 0.99


def test_policies_are_those_of_the_page():
    own = precision._policy(cell(policy=precision_report.OWN, width=18, fraction=16))
    band = precision._policy(cell(policy=precision_report.BAND, width=18, fraction=16))
    assert (own.limit, own.vanish, own.q) == (16, True, 2)
    assert isinstance(band, Band)
    assert band.limit is None
    assert isinstance(precision._policy(cell()), Constant)


def test_runs_that_diverge_count_as_chance():
    found = precision.measure(cell(rate=-60))[0]
    assert found["accuracy"] == learning.CHANCE
    assert math.isinf(found["loss"])


def test_bursts_are_counted():
    bursts = precision._Bursts(2, fraction=5)
    bursts.add([UpdateReport(10, 3, 1, 0, 0, 4), UpdateReport(10, 0, 0, 0, 0, 6)])
    bursts.add([UpdateReport(10, 10, 0, 0, 0, 2), UpdateReport(10, 0, 0, 0, 0, None)])
    assert bursts.shares() == {
        "needed": 4.0,
        "needed_most": 6.0,
        "blocked": 1 / 4,
        "idle": 1 / 2,
        "zero": 27 / 40,
        "saturated": 1 / 40,
    }


def row(policy, seed, accuracy, width=None, **changes):
    fraction = None if width is None else width - 2
    known = {"optimizer": "SGD", "rate": 1, "policy": policy, "width": width, "seed": seed}
    counts = {"blocked": 0.0, "idle": 0.1, "zero": 0.5, "saturated": 0.0}
    more = {"fraction": fraction, "accuracy": accuracy, "loss": 1.0, "q": 5, "needed": 7.0}
    return known | more | counts | {"needed_most": 8.0} | changes


def rows(*accuracies):
    """Return rows of floats, and of formats of 8, 10, 12... bits, one or two seeds each."""
    return [
        each
        for seed, gain in enumerate((0.0, 0.01))
        for each in (
            row(precision_report.FLOAT, seed, 0.9 + gain, q=64),
            *(
                row(precision_report.OWN, seed, accuracy + gain, 8 + 2 * index)
                for index, accuracy in enumerate(accuracies)
            ),
        )
    ]


def test_what_a_format_loses_is_paired():
    lost = [each["lost"] for each in precision.summarize(rows(0.5, 0.88))["formats"]]
    assert [each["mean"] for each in lost] == pytest.approx([40, 2])
    assert [each["deviation"] for each in lost] == pytest.approx([0, 0], abs=1e-9)


@pytest.mark.parametrize(
    ("accuracies", "width"),
    [((0.9, 0.9), 8), ((0.5, 0.9, 0.9), 10), ((0.9, 0.5, 0.9), 12), ((0.9, 0.5), None)],
)
def test_the_smallest_width_has_only_good_ones_above(accuracies, width):
    (found,) = precision.summarize(rows(*accuracies))["smallest"]
    assert found["width"] == width


def test_stalling_is_foretold_by_runs_on_floats():
    # q_min of the floats is 7: F = 6 is foretold to stall; F = 8, 10 and 12 are not.
    (found,) = precision.summarize(rows(0.5, 0.5, 0.9))["foretold"]
    assert found == {
        "integer": 2, "runs": 6, "stalled": 4, "right": 4, "missed": 2, "false": 0,
    }  # fmt: skip
    (found,) = precision.summarize(rows(0.9, 0.9))["foretold"]
    assert (found["missed"], found["false"]) == (0, 2)


def test_a_blocked_burst_that_moves_is_noticed():
    known = precision.plan(replace(QUICK, seeds=(0, 1)), [])
    assert len(known) == 20
    table = rows(0.5, 0.9)
    for each in table:
        each["blocked"] = 0.9 if each["width"] == 8 else 0.0
        each["idle"] = 0.95
    # One rate only: the narrowest format is blocked, the widest is not.
    assert precision.expect(precision.summarize(table)) == []
    table[-1]["blocked"] = 0.99
    wrong = precision.expect(precision.summarize(table))
    assert "1 runs moved weights with q_min above F" in wrong
