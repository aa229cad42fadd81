"""What of quantization does it: its error, its dead zone, its grid, or that the resolution rises.

One q(t) is recorded for each seed, and every arm replays it, be it as the resolution of a grid, as
the variance of noise or as a temperature. Every arm chooses its learning rate among the same ones,
on images that are held out. What is left is the difference between the arms.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from upshift.digits import Digits
from upshift.experiments import ablation_report, learning, residual, table1, tuning
from upshift.experiments.ablation_summary import expect, summarize
from upshift.experiments.alternatives import ALTERNATIVES, Alteration
from upshift.experiments.experiment import Cell, Experiment, Settings
from upshift.experiments.replay import Recording, Replay
from upshift.experiments.table import Column, Row
from upshift.optim import QtAdam, QtSGD
from upshift.resolution import Constant, Policy

TASK = table1.TASKS["digits"]
SCHEDULES = {"Band": True, "Band, no vanish": False}
NOISE = 1_000_000
"""Added to seeds of noise, so that it is not made of the numbers that order the images."""
QUANTIZED = ("quantized", "constant q")
ARMS = ("quantized", *ALTERNATIVES, "constant q", "plain")
PARTS = ("validation", "test")

COLUMNS = (
    Column(
        "part",
        str,
        "the recording of q(t), or a run that replays it",
        ("record", *PARTS),
    ),
    Column("images", str, "what is learned from, and tested on: see the page", PARTS),
    Column("optimizer", str, "whose direction it is", (*learning.OPTIMIZERS,)),
    Column("schedule", str, "the policy whose q(t) is replayed", (*SCHEDULES,)),
    Column("arm", str, "what is done with a step", ARMS),
    learning.RATE,
    Column("seed", int, "of split, first weights, order of the images and noise", low=0),
    learning.ACCURACY,
    learning.LOSS,
    Column("q", int, "resolution at the end; 64 where there is none", low=0, high=64),
    learning.ZERO,
    Column(
        "error",
        float,
        "root mean square of what the steps differ from plain ones, where that is known",
        low=0,
        optional=True,
    ),
    Column("changes", str, "q(t): numbers of questions and their answers (record)", optional=True),
    Column("mean_q", float, "mean of q(t) (record)", low=0, high=64, optional=True),
)


@dataclass(frozen=True)
class Ablation(Settings):
    """What decides the cells.

    Attributes
    ----------
    rates : dict
        k of the learning rates 2^-k that each arm may try, by optimizer.
    recorded : dict
        k of the rate at which q(t) is recorded, by optimizer.
    schedules, arms : tuple of str
    epochs : int
    """

    rates: dict[str, tuple[int, ...]]
    recorded: dict[str, int]
    schedules: tuple[str, ...]
    arms: tuple[str, ...]
    epochs: int


def plan(settings: Ablation, rows: Sequence[Row]) -> list[Cell]:
    """Return the recordings, then the trials that replay them, then the runs that are judged."""
    kinds = [
        {"optimizer": optimizer, "schedule": schedule}
        for optimizer in settings.rates
        for schedule in settings.schedules
    ]
    cells: list[Cell] = [
        {"part": "record", "images": images, **kind, "arm": "quantized",
         "rate": settings.recorded[kind["optimizer"]], "seed": seed, "epochs": settings.epochs}
        for images in PARTS
        for kind in kinds
        for seed in settings.seeds
    ]  # fmt: skip
    records = {_record(row): row for row in rows if row["part"] == "record"}
    if not records:
        return cells

    def trial(images: str, kind: dict[str, str], arm: str, rate: int, seed: int) -> Cell:
        named = {"images": images, **kind, "arm": arm, "rate": rate, "seed": seed}
        changes = _changes(arm, records[_record(named)])
        return {"part": images, **named, "epochs": settings.epochs, "changes_replayed": changes}

    cells += [
        trial("validation", kind, arm, rate, seed)
        for kind in kinds
        for arm in settings.arms
        for rate in settings.rates[kind["optimizer"]]
        for seed in settings.seeds
    ]
    names = ("optimizer", "schedule", "arm", "seed")
    chosen = tuning.choose((row for row in rows if row["part"] == "validation"), names)
    if chosen:
        cells += [
            trial("test", kind, arm, chosen[kind["optimizer"], kind["schedule"], arm, seed], seed)
            for kind in kinds
            for arm in settings.arms
            for seed in settings.seeds
        ]
    return cells


def _record(row: Row | Cell) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("images", "optimizer", "schedule", "seed"))


def _changes(arm: str, record: Row) -> list[list[int]]:
    """Return the q(t) that an arm replays."""
    if arm == "constant q":
        return [[0, round(record["mean_q"])]]
    changes: list[list[int]] = json.loads(record["changes"])
    return changes


# -- a cell ---------------------------------------------------------------------------------------


def measure(cell: Cell) -> list[Row]:
    """Train once."""
    if cell["part"] == "record":
        return [_measure_record(cell)]
    replay = Replay(cell["changes_replayed"])
    if cell["arm"] in QUANTIZED:
        row = _train(cell, replay)
        q = replay.q
    else:
        row = _train(cell, Constant(64), replay)
        q = 64 if cell["arm"] == "plain" else replay.q
    return [row | {"q": q, "changes": None, "mean_q": None}]


def _measure_record(cell: Cell) -> Row:
    policy = Recording(vanish=SCHEDULES[cell["schedule"]])
    row = _train(cell, policy)
    changes = json.dumps(policy.changes)
    return row | {"q": policy.q, "changes": changes, "mean_q": policy.total / policy.asked}


def _train(cell: Cell, policy: Policy, replay: Replay | None = None) -> Row:
    """Train with a policy; with alternative steps where the arm has one."""
    seed = cell["seed"]
    data = _data(cell)
    network = residual.network(seed, **TASK.network)
    optimizer = table1.make(
        cell["optimizer"], list(network.parameters()), 2.0 ** -cell["rate"], policy, None
    )
    altered = None
    if replay is not None and cell["arm"] in ALTERNATIVES:
        altered = Alteration(optimizer, ALTERNATIVES[cell["arm"]], replay, NOISE + seed)
    zero = elements = 0
    for step in learning.train(
        network, data, optimizer, epochs=cell["epochs"], batch=TASK.batch, seed=seed
    ):
        if not step.diverged:
            count = _zeros(optimizer)
            zero, elements = zero + count[0], elements + count[1]
    accuracy, loss = table1.assess(network, data, diverged=step.diverged)
    if altered is None:
        error = None
    else:
        zero, elements = altered.zero, altered.elements
        error = (altered.square / max(1, elements)) ** 0.5
    return {"accuracy": accuracy, "loss": loss, "zero": zero / max(1, elements), "error": error}


def _zeros(optimizer: QtSGD | QtAdam) -> tuple[int, int]:
    """Return how many elements of the last step were zero, and how many there were."""
    reports = optimizer.reports.values()
    return sum(each.elements - each.nonzero for each in reports), sum(
        each.elements for each in reports
    )


def _data(cell: Cell) -> Digits:
    data = learning.load(cell["seed"])
    if cell["images"] == "validation":
        return tuning.hold_out(data, TASK.held, cell["seed"])
    return data


QUICK_ARMS = ("quantized", "Gaussian, nominal", "Gaussian, measured", "dead zone", "plain")

EXPERIMENT = Experiment(
    name="ablation",
    columns=COLUMNS,
    quick=Ablation(
        seeds=(0, 1),
        rates={"SGD": (2, 4)},
        recorded={"SGD": 2},
        schedules=("Band, no vanish",),
        arms=QUICK_ARMS,
        epochs=2,
    ),
    full=Ablation(
        seeds=tuple(range(20)),
        rates={"SGD": (0, 1, 2, 3), "Adam": (4, 5, 6, 7)},
        recorded={"SGD": 2, "Adam": 6},
        schedules=(*SCHEDULES,),
        arms=ARMS,
        epochs=30,
    ),
    plan=plan,
    measure=measure,
    summarize=summarize,
    report=ablation_report.report,
    plots=ablation_report.plots,
    expect=expect,
)
