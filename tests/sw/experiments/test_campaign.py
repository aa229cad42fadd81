"""Campaigns keep what is finished, do what is missing, in stages, and say what they ran with."""

import json
from dataclasses import dataclass, replace

import pytest

from upshift import experiments
from upshift.experiments import campaign, forensics, table
from upshift.experiments.experiment import Experiment, Settings, key
from upshift.experiments.table import Column


@dataclass(frozen=True)
class Squares(Settings):
    stages: int


class Counting:
    """Squares numbers, then the largest square so far; counts what it is asked, and may fail."""

    def __init__(self):
        self.measured = []
        self.fails_at = None

    def plan(self, settings, rows):
        cells = [{"seed": seed, "x": float(seed)} for seed in settings.seeds]
        if rows and settings.stages == 2:
            best = max(row["square"] for row in rows if row["x"] < 100)
            cells.append({"seed": 0, "x": 100 + best})
        return cells

    def measure(self, cell):
        if cell["x"] == self.fails_at:
            raise RuntimeError("the lights went out")
        self.measured.append(cell["x"])
        return [{"square": cell["x"] ** 2}]

    def summarize(self, rows):
        return {"sum": sum(row["square"] for row in rows)}


@pytest.fixture
def counting():
    return Counting()


@pytest.fixture
def squares(counting, monkeypatch):
    experiment = Experiment(
        name="squares",
        columns=(
            Column("seed", int, "which"),
            Column("x", float, "a number"),
            Column("square", float, "its square", low=0, high=1e6),
        ),
        quick=Squares(seeds=(1, 2, 3), stages=1),
        full=Squares(seeds=(1, 2, 3), stages=2),
        plan=counting.plan,
        measure=counting.measure,
        summarize=counting.summarize,
        report=lambda summary: f"{summary['sum']}\n",
        plots=lambda rows, summary: {"plot.svg": "<svg/>"},
        expect=lambda summary: [],
        packages=(),
    )
    monkeypatch.setitem(experiments.ABOUT, "squares", "numbers")
    monkeypatch.setattr(experiments, "find", lambda name: experiment)
    return experiment


def go(experiment, directory, settings=None, **options):
    return campaign.run(
        experiment,
        settings or experiment.quick,
        directory,
        form="quick",
        command="do it",
        **options,
    )


def test_results_are_complete(squares, tmp_path):
    told = []
    result = go(squares, tmp_path / "new", progress=lambda *what: told.append(what))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert result["summary"] == {"sum": 14.0}
    assert result["configuration"] == {"seeds": (1, 2, 3), "stages": 1}
    assert result["versions"].keys() == {"python", "upshift", "numpy"}
    rows, loaded = campaign.load(squares, tmp_path / "new")
    assert [row["square"] for row in rows] == [1.0, 4.0, 9.0]
    assert loaded == json.loads(json.dumps(result))
    assert (tmp_path / "new" / "plot.svg").read_text() == "<svg/>"
    assert (tmp_path / "new" / "report.md").read_text() == "14.0\n"


def test_an_interrupted_run_does_only_what_is_missing(squares, counting, tmp_path):
    counting.fails_at = 3.0
    with pytest.raises(RuntimeError, match="lights"):
        go(squares, tmp_path)
    assert not (tmp_path / "result.json").exists()
    counting.fails_at = None
    go(squares, tmp_path)
    assert counting.measured == [1.0, 2.0, 3.0]
    text = (tmp_path / "rows.csv").read_text()
    go(squares, tmp_path)
    assert counting.measured == [1.0, 2.0, 3.0]
    go(squares, tmp_path / "at_once")
    assert (tmp_path / "at_once" / "rows.csv").read_text() == text


def test_a_line_that_was_cut_short_does_not_count(squares, counting, tmp_path):
    go(squares, tmp_path)
    journal = tmp_path / "cells.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-9])
    go(squares, tmp_path)
    assert counting.measured == [1.0, 2.0, 3.0, 3.0]
    again = [json.loads(line) for line in journal.read_bytes().splitlines()]
    first = [json.loads(line) for line in whole.splitlines()]
    assert [entry.get("rows") for entry in again] == [entry.get("rows") for entry in first]


def test_a_second_stage_sees_the_rows_of_the_first(squares, counting, tmp_path):
    go(squares, tmp_path, squares.full)
    assert counting.measured == [1.0, 2.0, 3.0, 109.0]
    go(squares, tmp_path, squares.full, jobs=2)  # nothing is missing in either
    assert counting.measured == [1.0, 2.0, 3.0, 109.0]
    rows, _ = campaign.load(squares, tmp_path)
    assert [row["x"] for row in rows] == [1.0, 2.0, 3.0, 109.0]


def test_more_seeds_add_cells(squares, counting, tmp_path):
    go(squares, tmp_path)
    go(squares, tmp_path, replace(squares.quick, seeds=(2, 3, 4)))
    assert counting.measured == [1.0, 2.0, 3.0, 4.0]
    rows, _ = campaign.load(squares, tmp_path)
    assert [row["seed"] for row in rows] == [2, 3, 4]


def test_cells_of_other_versions_are_not_mixed(squares, tmp_path, monkeypatch):
    go(squares, tmp_path)
    found = campaign.versions(squares)
    monkeypatch.setattr(campaign, "versions", lambda experiment: found | {"numpy": "9"})
    with pytest.raises(ValueError, match=r"belongs to another run, with other versions"):
        go(squares, tmp_path)


def test_a_directory_is_used_by_one_run_at_a_time(squares, tmp_path):
    with campaign.journal(tmp_path / "cells.jsonl", {}), pytest.raises(ValueError, match="in use"):
        go(squares, tmp_path)


def test_one_seed_has_no_deviation(squares, tmp_path):
    with pytest.raises(ValueError, match=r"seeds \(1,\) are not allowed: two or more"):
        go(squares, tmp_path, replace(squares.quick, seeds=(1,)))


def test_a_row_that_cannot_be_names_its_cell(squares, tmp_path):
    with pytest.raises(ValueError, match=r'cell \{"seed": 5000, .*square 25000000.0 is not allow'):
        go(squares, tmp_path, replace(squares.quick, seeds=(1, 5000)))


def test_results_that_are_missing_or_of_something_else_are_refused(squares, tmp_path):
    with pytest.raises(FileNotFoundError):
        campaign.load(squares, tmp_path)
    go(squares, tmp_path)
    with pytest.raises(ValueError, match="is of 'squares', not circles"):
        campaign.load(replace(squares, name="circles"), tmp_path)
    (tmp_path / "rows.csv").write_text("seed,x\n")
    with pytest.raises(ValueError, match="has the columns seed, x, not"):
        campaign.load(squares, tmp_path)


def test_cells_are_named_by_their_settings():
    assert key({"b": 1, "a": [2]}) == key({"a": [2], "b": 1}) != key({"a": [2], "b": 1.0})


def test_processes_give_the_same_rows(tmp_path):
    settings = forensics.Forensics(seeds=(0, 1), rates=(2,), epochs=1)
    texts = []
    for jobs in (1, 2):
        directory = tmp_path / str(jobs)
        go(forensics.EXPERIMENT, directory, settings, jobs=jobs)
        texts.append((directory / "rows.csv").read_text())
    assert texts[0] == texts[1]
    assert table.read(directory / "rows.csv", forensics.COLUMNS)
