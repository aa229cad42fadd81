"""Estimates are quick, near what was measured, and follow from the committed points."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from upshift import cli, estimators
from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift_boards.fabric import campaign, fit, model, parts, ram
from upshift_boards.fabric.targets import TARGETS

POINTS = Path(__file__).resolve().parents[3] / "docs" / "results" / "fabric" / "points.json"


@pytest.fixture(scope="module")
def points():
    return campaign.load(POINTS)


@pytest.fixture(scope="module")
def fitted(points):
    return fit.fit(points)


def run(capsys, *arguments):
    status = cli.main(["estimate", *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def numbers(tree, path=""):
    """Yield the numbers in a model, each with where it is."""
    if isinstance(tree, dict):
        for name, below in tree.items():
            yield from numbers(below, f"{path}/{name}")
    elif isinstance(tree, list):
        for n, below in enumerate(tree):
            yield from numbers(below, f"{path}/{n}")
    else:
        yield path, tree


# -- the model ------------------------------------------------------------------------------------


def test_the_model_is_that_of_the_committed_points(fitted):
    assert dict(numbers(model.load())) == pytest.approx(dict(numbers(fitted)), rel=1e-3, abs=1e-4)


def test_units_that_the_model_has_not_seen_are_estimated_well(fitted):
    assert fitted["points"] >= 60
    assert fitted["errors"]["logic"]["median"] <= 0.10
    assert fitted["errors"]["flip-flops"]["median"] <= 0.10
    assert fitted["errors"]["clock"]["median"] <= 0.15


def test_the_units_with_a_target_are_estimated_well(points):
    for (part, config, measured), estimate in (
        (each, model.estimate(each[0], each[1])) for each in fit.samples(points)
    ):
        if any((part, config) == (t.setting.part, t.setting.config) for t in TARGETS):
            assert estimate.logic == pytest.approx(measured["logic"], rel=0.15)
            assert estimate.clock == pytest.approx(measured["clock"], rel=0.25)
            assert estimate.warnings == ()


def test_block_ram_is_what_synthesis_makes_of_it(points):
    for point in points:
        family = parts.find(point["part"]).family
        config = UnitConfig.from_mapping(point["configuration"])
        assert ram.blocks(family, config) == point["cells"]["block RAM"], point


def test_what_is_left_out_does_not_teach(points):
    samples = fit.samples(points)
    (part, config, measured), *rest = samples
    wrong = (part, config, {name: 100 * value for name, value in measured.items()})
    (left, estimate), *_ = fit.unseen(samples)
    (_, still), *_ = fit.unseen([wrong, *rest])
    assert left[1] == config
    assert still == estimate


def test_a_larger_unit_needs_more_and_a_faster_part_is_faster():
    part = parts.find("ecp5-25f-6")
    unit = model.estimate(part, UnitConfig(lanes=4))
    wide = model.estimate(part, UnitConfig(lanes=16))
    assert wide.logic > 2 * unit.logic
    assert wide.clock <= unit.clock
    assert wide.updates_per_second == pytest.approx(16e6 * wide.clock)
    assert model.estimate(parts.find("ecp5-25f-8"), UnitConfig(lanes=4)).clock > unit.clock
    assert not model.estimate(parts.find("up5k"), UnitConfig(lanes=32)).fits


def test_outside_of_what_was_measured_there_is_a_warning():
    config = UnitConfig(weight=Fixed(16, 12), depth=1 << 24, max_rate=15)
    (warning,) = model.estimate(parts.find("hx8k"), config).warnings
    assert "depth 16777216 is outside of what was measured on ice40" in warning


# -- the command ----------------------------------------------------------------------------------


def test_an_estimate_takes_less_than_a_second():
    code = "import sys; from upshift import cli; sys.exit(cli.main(['estimate']))"
    before = os.times()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    after = os.times()
    # Of processor time, since other tests run at the same time.
    used = after.children_user + after.children_system
    assert used - before.children_user - before.children_system < 1


def test_the_answer_is_a_table_with_its_errors(capsys):
    status, out, err = run(capsys)
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()[2:-1]] == list(model.SHOWN)
    assert "median error" in out


def test_the_pipeline_is_the_best_of_each_family_unless_one_says_otherwise(capsys):
    _, out, _ = run(capsys, "--family", "ice40", "--json")
    found = json.loads(out)
    assert [each["part"] for each in found["estimates"]] == ["hx8k", "up5k"]
    assert {each["pipeline"] for each in found["estimates"]} == {parts.find("hx8k").pipeline}
    assert set(found["errors"]) == {"logic", "flip-flops", "clock"}
    _, out, _ = run(capsys, "--part", "ecp5-45f-7", "--pipeline", "4", "--json")
    assert [each["pipeline"] for each in json.loads(out)["estimates"]] == [4]


def test_a_unit_that_does_not_fit_is_told(capsys):
    _, out, _ = run(capsys, "--lanes", "32", "--part", "up5k")
    assert "too large" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--part", "xc7a35t"], "no part is called 'xc7a35t'"),
        (["--lanes", "5"], "lanes 5 is not allowed: a power of two, 1 to 32"),
        (["--config", "missing.json"], "missing.json"),
        (["--gradient", "float8"], "float8"),
    ],
)
def test_bad_input_ends_with_two_and_says_why(capsys, arguments, message):
    status, _, err = run(capsys, *arguments)
    assert status == 2
    assert message in err


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        run(capsys, "--help")
    assert "upshift estimate" in capsys.readouterr().out.split("examples:")[1]


# -- for reports ----------------------------------------------------------------------------------


def test_reports_find_the_estimates():
    config = UnitConfig(lanes=4)
    found = estimators.estimates(config)
    assert [each["part"] for each in found] == list(model.SHOWN)
    first = parts.find(model.SHOWN[0])
    same = model.estimate(first, replace(config, pipeline=first.pipeline))
    assert found[0]["logic"] == same.logic
    assert any("MHz" in line for line in estimators.lines(config))


@pytest.mark.parametrize("missing", [True, False])
def test_reports_do_without(monkeypatch, missing):
    class Point:
        name = value = group = "none"

        def load(self):
            raise ImportError("no boards")

    monkeypatch.setattr(estimators, "entry_points", lambda group: [Point()] if missing else [])
    assert estimators.estimates(UnitConfig()) == []
    assert estimators.lines(UnitConfig()) == []
