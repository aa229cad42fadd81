"""Accuracy against the format of the weights and the learning rate, and whether q_min explains it.

A weight with F fraction bits cannot move by less than ``2^-F``. A burst whose q_min exceeds F moves
nothing at all. So a run on floating-point weights, which tells every q_min, should say beforehand
which formats stall; that is put to the test.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from upshift import digits
from upshift.experiments import learning, precision_report, statistics
from upshift.experiments.experiment import Cell, Experiment, Settings, Summary
from upshift.experiments.precision_report import BAND, FLOAT, OWN, STALLED, TOLERATED
from upshift.experiments.table import Column, Row
from upshift.formats import Fixed
from upshift.report import UpdateReport
from upshift.resolution import Band, Constant, Policy

COLUMNS = (
    learning.OPTIMIZER,
    learning.RATE,
    Column("policy", str, "floats at q = 64, or what raises q", (FLOAT, OWN, BAND)),
    Column("width", int, "bits of a weight", low=2, high=25, optional=True),
    Column("fraction", int, "fraction bits of a weight", low=0, high=25, optional=True),
    learning.SEED,
    Column("accuracy", float, "on the test images; chance if it diverged", low=0, high=1),
    Column("loss", float, "on the test images; infinite if it diverged", low=0),
    Column("q", int, "resolution at the end", low=0, high=64),
    Column("needed", float, "median q_min of all bursts that were not zero"),
    Column("needed_most", float, "largest median q_min of a tensor"),
    Column("blocked", float, "share of the bursts with q_min above F", low=0, high=1),
    Column("idle", float, "share of the bursts that moved no weight", low=0, high=1),
    learning.ZERO,
    Column("saturated", float, "share of the steps that a format's end cut", low=0, high=1),
)


@dataclass(frozen=True)
class Precision(Settings):
    """What decides the cells.

    Attributes
    ----------
    rates : dict
        k of the learning rates 2^-k, by optimizer.
    widths : tuple of int
        Bits of a weight.
    integers : tuple of int
        Bits before the point, sign included. `BAND` is tried with the first only.
    epochs : int
    """

    rates: dict[str, tuple[int, ...]]
    widths: tuple[int, ...]
    integers: tuple[int, ...]
    epochs: int


def plan(settings: Precision, rows: Sequence[Row]) -> list[Cell]:
    """Return a cell for each optimizer, rate, format, policy and seed."""
    formats: list[Cell] = [{"policy": FLOAT, "width": None, "fraction": None}]
    for integer in settings.integers:
        for policy in (OWN, BAND) if integer == settings.integers[0] else (OWN,):
            formats += [
                {"policy": policy, "width": width, "fraction": width - integer}
                for width in settings.widths
            ]
    return [
        {"optimizer": optimizer, "rate": rate, **each, "seed": seed, "epochs": settings.epochs}
        for optimizer, rates in settings.rates.items()
        for rate in rates
        for each in formats
        for seed in settings.seeds
    ]


# -- a cell ---------------------------------------------------------------------------------------


class _Bursts:
    """Counts what bursts did.

    Attributes
    ----------
    needed : list of list of int
        q_min of each tensor, where there is one.
    """

    def __init__(self, tensors: int, fraction: int | None):
        self.needed: list[list[int]] = [[] for _ in range(tensors)]
        self._fraction = fraction
        self._counts = dict.fromkeys(("bursts", "blocked", "idle", "steps", "zero", "saturated"), 0)

    def add(self, reports: Sequence[UpdateReport]) -> None:
        """Count the bursts of one step, in the order of the tensors."""
        counts = self._counts
        for tensor, report in enumerate(reports):
            needed = report.resolution_needed
            if needed is not None:
                self.needed[tensor].append(needed)
                counts["blocked"] += self._fraction is not None and needed > self._fraction
            counts["bursts"] += 1
            counts["idle"] += report.nonzero == 0
            counts["steps"] += report.elements
            counts["zero"] += report.elements - report.nonzero
            counts["saturated"] += report.saturated

    def shares(self) -> Row:
        """Return the columns of a row that follow from the counts."""
        counts = self._counts
        medians = [float(np.median(found)) for found in self.needed if found]
        everything = [each for found in self.needed for each in found]
        return {
            # Where every gradient was zero from the first, nothing was needed.
            "needed": float(np.median(everything)) if everything else 0.0,
            "needed_most": max(medians, default=0.0),
            "blocked": counts["blocked"] / max(1, counts["bursts"]),
            "idle": counts["idle"] / max(1, counts["bursts"]),
            "zero": counts["zero"] / max(1, counts["steps"]),
            "saturated": counts["saturated"] / max(1, counts["steps"]),
        }


def measure(cell: Cell) -> list[Row]:
    """Train once."""
    seed, fraction = cell["seed"], cell["fraction"]
    data = learning.load(seed)
    network = digits.network(seed)
    parameters = list(network.parameters())
    policy = _policy(cell)
    optimizer = learning.OPTIMIZERS[cell["optimizer"]](
        parameters,
        2.0 ** -cell["rate"],
        resolution=policy,
        weight=None if fraction is None else Fixed(cell["width"], fraction),
    )
    bursts = _Bursts(len(parameters), fraction)
    steps = learning.train(
        network, data, optimizer, epochs=cell["epochs"], batch=learning.BATCH, seed=seed
    )
    for step in steps:
        if not step.diverged:
            bursts.add([optimizer.reports[p] for p in parameters])
    accuracy, loss = learning.evaluate(network, data, diverged=step.diverged)
    return [{"accuracy": accuracy, "loss": loss, "q": policy.q} | bursts.shares()]


def _policy(cell: Cell) -> Policy:
    if cell["policy"] == FLOAT:
        return Constant(64)
    start = min(2, cell["fraction"])
    return Band(start, limit=cell["fraction"]) if cell["policy"] == OWN else Band(start)


# -- what the rows say ----------------------------------------------------------------------------


def summarize(rows: Sequence[Row]) -> Summary:
    """Return accuracies, what each format loses against floats, and how q_min foretells it."""
    floats = {_run(row): row for row in rows if row["policy"] == FLOAT}
    by_format: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        if row["policy"] != FLOAT:
            names = ("optimizer", "rate", "policy", "width", "fraction")
            by_format[tuple(row[name] for name in names)].append(row)
    formats = [_format(which, some, floats) for which, some in by_format.items()]
    return {
        "floats": _floats(floats),
        "formats": formats,
        "smallest": _smallest(formats),
        "foretold": [
            _foretold(integer, rows, floats)
            for integer in sorted({each["integer"] for each in formats})
        ],
        "moved_though_blocked": sum(row["blocked"] > row["idle"] for row in rows),
    }


def _run(row: Row) -> tuple[str, int, int]:
    return row["optimizer"], row["rate"], row["seed"]


def _lost(row: Row, floats: dict[tuple[str, int, int], Row]) -> float:
    """Return the points of accuracy that a run lacks of that on floats."""
    return 100 * float(floats[_run(row)]["accuracy"] - row["accuracy"])


def _floats(floats: dict[tuple[str, int, int], Row]) -> list[Summary]:
    found: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for (optimizer, rate, _), row in floats.items():
        found[optimizer, rate].append(row)
    return [
        {
            "optimizer": optimizer,
            "rate": rate,
            "accuracy": asdict(statistics.mean([100 * row["accuracy"] for row in some])),
            "needed": float(np.median([row["needed"] for row in some])),
        }
        for (optimizer, rate), some in found.items()
    ]


def _format(
    which: tuple[Any, ...], rows: list[Row], floats: dict[tuple[str, int, int], Row]
) -> Summary:
    names = ("optimizer", "rate", "policy", "width", "fraction")
    return dict(zip(names, which, strict=True)) | {
        "integer": which[3] - which[4],
        "accuracy": asdict(statistics.mean([100 * row["accuracy"] for row in rows])),
        "lost": asdict(statistics.mean([_lost(row, floats) for row in rows])),
        "blocked": float(np.mean([row["blocked"] for row in rows])),
        "zero": float(np.mean([row["zero"] for row in rows])),
        "saturated": float(np.mean([row["saturated"] for row in rows])),
        "q": max(row["q"] for row in rows),
    }


def _smallest(formats: list[Summary]) -> list[Summary]:
    """Return the least width from which on no width is known to lose too much, or is unknown."""
    found: dict[tuple[Any, ...], list[Summary]] = defaultdict(list)
    for each in formats:
        found[each["optimizer"], each["rate"], each["policy"], each["integer"]].append(each)
    smallest = []
    for (optimizer, rate, policy, integer), some in found.items():
        width = None
        for each in sorted(some, key=lambda each: -each["width"]):
            if each["lost"]["high"] > TOLERATED:
                break
            width = each["width"]
        names = {"optimizer": optimizer, "rate": rate, "policy": policy, "integer": integer}
        smallest.append(names | {"width": width})
    return smallest


def _foretold(
    integer: int, rows: Sequence[Row], floats: dict[tuple[str, int, int], Row]
) -> Summary:
    """Compare runs that stalled with those whose F is below the q_min of half the float bursts."""
    counts = {"right": 0, "missed": 0, "false": 0, "stalled": 0, "runs": 0}
    for row in rows:
        if row["policy"] != OWN or row["width"] - row["fraction"] != integer:
            continue
        stalled = _lost(row, floats) > STALLED
        foretold = row["fraction"] < floats[_run(row)]["needed"]
        counts["runs"] += 1
        counts["stalled"] += stalled
        counts["right"] += stalled == foretold
        counts["missed"] += stalled and not foretold
        counts["false"] += foretold and not stalled
    return {"integer": integer, **counts}


def expect(summary: Summary) -> list[str]:
    """Return what is not as it is known to be."""
    wrong = []
    if summary["moved_though_blocked"]:
        wrong.append(f"{summary['moved_though_blocked']} runs moved weights with q_min above F")
    sgd = [each for each in summary["formats"] if each["optimizer"] == "SGD"]
    slow = max(sgd, key=lambda each: (each["rate"], -each["fraction"]))
    fast = min(sgd, key=lambda each: (each["rate"], -each["fraction"]))
    if not slow["blocked"] > 0.5 > fast["blocked"]:
        wrong.append(
            f"{slow['blocked']:.0%} of the bursts are blocked in the narrowest format at the "
            f"least learning rate, {fast['blocked']:.0%} in the widest at the largest"
        )
    return wrong


EXPERIMENT = Experiment(
    name="precision",
    columns=COLUMNS,
    quick=Precision(
        seeds=(0, 1),
        rates={"SGD": (1, 6)},
        widths=(8, 16),
        integers=(2,),
        epochs=6,
    ),
    full=Precision(
        seeds=tuple(range(8)),
        rates={"SGD": (1, 3, 5, 7), "Adam": (6, 8, 10)},
        widths=tuple(range(8, 25, 2)),
        integers=(2, 1, 4),
        epochs=40,
    ),
    plan=plan,
    measure=measure,
    summarize=summarize,
    report=precision_report.report,
    plots=precision_report.plots,
    expect=expect,
)
