"""Every experiment's quick form runs, keeps to its schema, and shows the effect that is known."""

import json

import pytest

from upshift import cli, experiments
from upshift.experiments import campaign


def run(capsys, *arguments):
    status = cli.main(["experiment", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize("name", experiments.ABOUT)
def test_the_quick_form(name, tmp_path, capsys):
    status, out, err = run(capsys, name, "--quick", "--out", tmp_path, "--json")
    assert status == 0, err
    result = json.loads(out)
    assert result == json.loads((tmp_path / "result.json").read_text())
    assert (result["experiment"], result["form"]) == (name, "quick")
    assert result["command"] == f"upshift experiment {name} --quick"
    assert result["unexpected"] == []

    experiment = experiments.find(name)
    rows, _ = campaign.load(experiment, tmp_path)  # checks the schema
    assert len({row["seed"] for row in rows}) >= 2
    assert len({row["rate"] for row in rows}) >= 2
    summary = experiment.summarize(rows)
    assert json.loads(json.dumps(summary)) == result["summary"]  # the rows say it all
    assert experiment.report(summary) == (tmp_path / "report.md").read_text()
    for file, svg in experiment.plots(rows, summary).items():
        assert svg == (tmp_path / file).read_text()
        assert "</svg>" in svg

    before = (tmp_path / "cells.jsonl").read_bytes()
    status, out, _ = run(capsys, name, "--quick", "--out", tmp_path)
    assert status == 0
    assert experiment.report(summary) in out
    assert (tmp_path / "cells.jsonl").read_bytes() == before  # nothing was done again


def test_experiments_are_listed(capsys):
    status, out, _ = run(capsys, "--list")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == [*experiments.ABOUT]
    assert json.loads(run(capsys, "--list", "--json")[1]) == experiments.ABOUT


@pytest.mark.parametrize("name", experiments.ABOUT)
def test_every_experiment_is_what_its_name_says(name):
    experiment = experiments.find(name)
    assert experiment.name == name
    assert len(experiment.full.seeds) >= 5
    names = [column.name for column in experiment.columns]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["alchemy"], "experiment 'alchemy' is not allowed: forensics"),
        ([], "NAME is missing: forensics"),
        (["forensics", "--jobs", "0"], "--jobs 0 is not allowed: 1 or more"),
        (["forensics", "--seeds", "3"], "--seeds '3' is not allowed: a range of two or more"),
        (["forensics", "--seeds", "3-3"], "--seeds '3-3' is not allowed"),
        (["forensics", "--seeds", "5-3"], "--seeds '5-3' is not allowed"),
    ],
)
def test_wrong_usage_ends_with_two(capsys, arguments, message):
    status, _, err = run(capsys, *arguments)
    assert status == 2
    assert message in err


def test_an_effect_that_is_missing_ends_with_one(capsys, tmp_path, monkeypatch):
    experiment = experiments.find("forensics")
    monkeypatch.setattr(campaign, "run", lambda *_, **__: {"unexpected": ["it did not run away"]})
    status, _, err = run(capsys, experiment.name, "--quick", "--out", tmp_path, "--json")
    assert status == 1
    assert "forensics: it did not run away" in err


def test_seeds_are_chosen(capsys, tmp_path, monkeypatch):
    seen = {}

    def record(experiment, settings, directory, **options):
        seen.update(options, settings=settings, directory=directory)
        return {"unexpected": []}

    monkeypatch.setattr(campaign, "run", record)
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "forensics", "--seeds", "4-6", "--jobs", "2", "--json")[0] == 0
    assert seen["settings"].seeds == (4, 5, 6)
    assert str(seen["directory"]) == "build/experiments/forensics"
    assert seen["command"] == "upshift experiment forensics --seeds 4-6"
    assert (seen["form"], seen["jobs"]) == ("full", 2)
