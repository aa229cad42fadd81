"""Runs an experiment: its missing cells in parallel, each kept once finished, then the results."""

from __future__ import annotations

import json
import multiprocessing
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from upshift import experiments
from upshift.experiments import table
from upshift.experiments.experiment import Cell, Experiment, Settings, key, merge
from upshift.experiments.files import Journal, journal, write_text
from upshift.experiments.table import Row

ROWS, RESULT, REPORT, CELLS = "rows.csv", "result.json", "report.md", "cells.jsonl"

Progress = Callable[[int, int], None]
"""Is told how many cells are finished, and of how many."""


def versions(experiment: Experiment[Any]) -> dict[str, str]:
    """Return the versions that results may depend on."""
    names = ("upshift", "numpy", *experiment.packages)
    return {"python": platform.python_version()} | {name: version(name) for name in names}


def run(
    experiment: Experiment[Any],
    settings: Settings,
    directory: Path,
    *,
    form: Literal["quick", "full"],
    command: str,
    jobs: int = 1,
    progress: Progress = lambda done, of: None,
) -> dict[str, Any]:
    """Do what is missing, and write the results.

    Parameters
    ----------
    experiment : Experiment
    settings : Settings
    directory : Path
        Where the cells are kept and the results go; made if it is not there.
    form : {"quick", "full"}
        What the results shall say of themselves.
    command : str
        What to type to get the same.
    jobs : int
        Processes; 1 works in this one.
    progress : callable, optional

    Returns
    -------
    dict
        What is in the result file.

    Raises
    ------
    ValueError
        If there are fewer than two seeds, if the directory holds cells made with other versions,
        or if a row is not what the columns say.
    """
    if len(set(settings.seeds)) < 2:
        raise ValueError(f"seeds {settings.seeds} are not allowed: two or more, for deviations")
    directory.mkdir(parents=True, exist_ok=True)
    found = versions(experiment)
    with journal(directory / CELLS, {"experiment": experiment.name, "versions": found}) as kept:
        entries = _finish(experiment, settings, kept, jobs, progress)
    rows = [row for entry in entries for row in entry["rows"]]
    summary = experiment.summarize(rows)
    result = {
        "experiment": experiment.name,
        "about": experiments.ABOUT[experiment.name],
        "form": form,
        "command": command,
        "date": time.strftime("%Y-%m-%d"),
        "versions": found,
        "cells": len(entries),
        "seconds": round(sum(entry["seconds"] for entry in entries)),
        "configuration": asdict(settings),
        "unexpected": experiment.expect(summary),
        "summary": summary,
    }
    _write(experiment, rows, result, directory)
    return result


def load(experiment: Experiment[Any], directory: Path) -> tuple[list[Row], dict[str, Any]]:
    """Return the rows and the result that a run wrote.

    Raises
    ------
    FileNotFoundError
        If there are none.
    ValueError
        If they are of another experiment, or a row is not what the columns say.
    """
    result = json.loads((directory / RESULT).read_text())
    if result.get("experiment") != experiment.name:
        raise ValueError(f"{directory} is of {result.get('experiment')!r}, not {experiment.name}")
    return table.read(directory / ROWS, experiment.columns), result


def _finish(
    experiment: Experiment[Any],
    settings: Settings,
    kept: Journal,
    jobs: int,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Do what is missing, stage by stage, and return what came of all cells, in their order."""
    rows: list[Row] = []
    before: list[str] = []
    while True:
        cells = experiment.plan(settings, rows)
        keys = [key(cell) for cell in cells]
        assert len(set(keys)) == len(keys), "a plan has the same cell twice"
        if keys == before:
            return [kept.finished[name] for name in keys]
        missing = [cell for cell in cells if key(cell) not in kept.finished]
        done = len(cells) - len(missing)
        progress(done, len(cells))
        for cell, measured, seconds in _measured(experiment.name, missing, jobs):
            merged = merge(experiment, cell, measured)
            kept.add(key(cell), {"rows": merged, "seconds": round(seconds, 3)})
            done += 1
            progress(done, len(cells))
        rows = [row for name in keys for row in kept.finished[name]["rows"]]
        before = keys


def _measured(
    name: str, cells: Sequence[Cell], jobs: int
) -> Iterator[tuple[Cell, list[Row], float]]:
    """Measure cells, and yield each as it finishes."""
    if jobs == 1 or len(cells) < 2:
        yield from (_measure(name, cell) for cell in cells)
        return
    # Forking a process in which torch has threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(cells)), mp_context=context) as pool:
        futures = [pool.submit(_measure, name, cell) for cell in cells]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _measure(name: str, cell: Cell) -> tuple[Cell, list[Row], float]:
    import torch
    from threadpoolctl import threadpool_limits

    # More threads would only wait for those of the other processes, and change the order of sums:
    # those of linear algebra made SciPy's small steps many times as long.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    clock = time.process_time()
    try:
        with threadpool_limits(1):
            rows = experiments.find(name).measure(cell)
    finally:
        torch.set_num_threads(before)
    return cell, rows, time.process_time() - clock


def _write(
    experiment: Experiment[Any], rows: Sequence[Row], result: dict[str, Any], directory: Path
) -> None:
    table.write(directory / ROWS, rows, experiment.columns)
    for name, svg in experiment.plots(rows, result["summary"]).items():
        write_text(directory / name, svg)
    write_text(directory / REPORT, experiment.report(result["summary"]))
    # Last, so that a result means that all is there.
    write_text(directory / RESULT, json.dumps(result, indent=2, allow_nan=False) + "\n")
