"""What an experiment is made of."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from upshift.experiments import table
from upshift.experiments.table import Column, Row

Cell = dict[str, Any]
"""The settings of one piece of work: plain values with names, as JSON has them."""

Summary = dict[str, Any]
"""What the rows come to, as JSON has it."""


@dataclass(frozen=True)
class Settings:
    """What decides which cells an experiment has; each adds its own.

    Attributes
    ----------
    seeds : tuple of int
        Repetitions, two or more, since one has no deviation.
    """

    seeds: tuple[int, ...]


S = TypeVar("S", bound=Settings)


@dataclass(frozen=True)
class Experiment(Generic[S]):
    """A question, how it is measured, and what its rows say.

    Attributes
    ----------
    name : str
    columns : tuple of Column
        The schema of the rows.
    quick, full : Settings
        The quick form asks the same in less detail, by the same code.
    plan : callable
        Given the settings and the rows so far, returns all cells that are known by now, those
        that are finished included. It is asked again when all are finished, until there is
        nothing new: a stage that needs the result of another comes then.
    measure : callable
        Given a cell, returns its rows. Fields of the cell that are columns need not be repeated.
        It runs in a process of its own, with torch on one thread.
    summarize : callable
        Given the rows, returns what they come to.
    report : callable
        Given the summary, returns Markdown: tables, and a verdict in plain words.
    plots : callable
        Given rows and summary, returns SVG by file name.
    expect : callable
        Given the summary, returns what is not as it is known to be; nothing if all is well.
    packages : tuple of str
        Packages whose versions matter, beside upshift and NumPy.
    """

    name: str
    columns: tuple[Column, ...]
    quick: S
    full: S
    plan: Callable[[S, Sequence[Row]], list[Cell]]
    measure: Callable[[Cell], list[Row]]
    summarize: Callable[[Sequence[Row]], Summary]
    report: Callable[[Summary], str]
    plots: Callable[[Sequence[Row], Summary], dict[str, str]]
    expect: Callable[[Summary], list[str]]
    packages: tuple[str, ...] = ("torch", "scikit-learn", "scipy")


def key(cell: Cell) -> str:
    """Return the canonical name of a cell: equal for equal settings, in whatever order."""
    return json.dumps(cell, sort_keys=True, allow_nan=False)


def merge(experiment: Experiment[Any], cell: Cell, measured: Sequence[Row]) -> list[Row]:
    """Return the rows of a cell, the cell's own fields included, in the order of the columns.

    Raises
    ------
    ValueError
        If a row then is not what the columns say.
    """
    names = [column.name for column in experiment.columns]
    own = {name: value for name, value in cell.items() if name in names}
    rows = [own | row for row in measured]
    try:
        table.check(rows, experiment.columns)
    except ValueError as error:
        raise ValueError(f"cell {key(cell)}: {error}") from None
    return [{name: row[name] for name in names} for row in rows]
