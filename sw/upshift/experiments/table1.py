"""The paper's table with seeds and deviations: quantized against plain, at nine learning rates.

Adam, QtAdam, SGD and QtSGD train a residual network at the learning rates 2^-2 to 2^-10. The paper
took CIFAR-10 and a ResNet-32; both are here for those who have the archive and the time. Without,
a small network of the same kind learns from few digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from upshift.digits import Digits
from upshift.experiments import cifar10, learning, residual, table1_report, tuning
from upshift.experiments.experiment import Cell, Experiment, Settings
from upshift.experiments.table import Column, Row
from upshift.experiments.table1_summary import FLOAT, PLAIN, expect, summarize
from upshift.formats import Fixed
from upshift.optim import QtAdam, QtSGD
from upshift.resolution import Authors, Band, Constant, Policy

FIXED = "Fixed(18, 16)"
WEIGHTS = {FLOAT: None, FIXED: Fixed(18, 16)}
# At q = 64 the step of a float32 is what it would be without any quantizer.
POLICIES: dict[str, Callable[[], Policy]] = {
    PLAIN: lambda: Constant(64),
    "Band": Band,
    "Band, no vanish": lambda: Band(vanish=False),
    "Authors": Authors,
}


@dataclass(frozen=True)
class Task:
    """What is learned, and how.

    Attributes
    ----------
    batch, epochs : int
    noted : tuple of int
        Epochs after which a run is tested.
    held : int
        Training images that are held out for the choice of rates, a fifth of them at most.
    network : dict
        Arguments of `residual.network`.
    """

    batch: int
    epochs: int
    noted: tuple[int, ...]
    held: int
    network: dict[str, Any]


TASKS = {
    "digits": Task(
        36, 40, (1, 2, 5, 10, 20, 40), 72, {"inputs": 1, "widths": (8, 16), "blocks": 1}
    ),
    "CIFAR-10": Task(
        128, 20, (1, 2, 5, 10, 20), 5000, {"inputs": 3, "widths": (16, 32, 64), "blocks": 5}
    ),
}
COLUMNS = (
    Column("task", str, "what is learned", (*TASKS,)),
    Column(
        "part",
        str,
        "a run that is judged on the test images, or one on fewer images that is judged on those "
        "held out, for the choice of a rate",
        ("test", "validation"),
    ),
    learning.OPTIMIZER,
    Column("policy", str, "what raises q; plain is q = 64", (*POLICIES,)),
    Column("weights", str, "format of the weights", (*WEIGHTS,)),
    learning.RATE,
    learning.SEED,
    Column("epoch", int, "after how many epochs", low=1),
    Column("train_loss", float, "mean over the epoch; infinite if it diverged", low=0),
    learning.ACCURACY,
    learning.LOSS,
    Column("q", int, "resolution", low=0, high=64),
    Column("zero", float, "share of the steps so far that were zero", low=0, high=1),
)


@dataclass(frozen=True)
class Table1(Settings):
    """What decides the cells.

    Attributes
    ----------
    rates : tuple of int
        k of the learning rates 2^-k, ascending: the largest rate first.
    arms : tuple
        Policy and format of the weights; each with either optimizer.
    epochs : int, optional
        If not those of the task.
    archive : str, optional
        File of CIFAR-10, which is learned if it is given.
    """

    rates: tuple[int, ...]
    arms: tuple[tuple[str, str], ...]
    epochs: int | None = None
    archive: str | None = None


def plan(settings: Table1, rows: Sequence[Row]) -> list[Cell]:
    """Return a cell for each part, arm, rate and seed."""
    source: Cell = {"task": "digits"}
    if settings.archive is not None:
        sha256 = cifar10.check(settings.archive)
        source = {"task": "CIFAR-10", "archive": settings.archive, "sha256": sha256}
    task = TASKS[source["task"]]
    epochs = settings.epochs or task.epochs
    noted = [epoch for epoch in task.noted if epoch < epochs] + [epochs]
    return [
        {
            **source,
            "part": part,
            "optimizer": optimizer,
            "policy": policy,
            "weights": weights,
            "rate": rate,
            "seed": seed,
            "noted": noted if part == "test" else [epochs],
        }
        for part in ("test", "validation")
        for optimizer in learning.OPTIMIZERS
        for policy, weights in settings.arms
        for rate in settings.rates
        for seed in settings.seeds
    ]


# -- a cell ---------------------------------------------------------------------------------------


def measure(cell: Cell) -> list[Row]:
    """Train once, and test after some epochs."""
    task, seed, noted = TASKS[cell["task"]], cell["seed"], cell["noted"]
    data = _data(cell)
    network = residual.network(seed, **task.network).to(data.train_images.device)
    parameters = list(network.parameters())
    optimizer = make(
        cell["optimizer"],
        parameters,
        2.0 ** -cell["rate"],
        POLICIES[cell["policy"]](),
        WEIGHTS[cell["weights"]],
    )
    rows: list[Row] = []
    losses: list[float] = []
    zero, length = 0, math.ceil(len(data.train_images) / task.batch)
    for step in learning.train(
        network, data, optimizer, epochs=noted[-1], batch=task.batch, seed=seed
    ):
        if step.diverged:
            break
        losses.append(step.loss)
        zero += sum(each.elements - each.nonzero for each in optimizer.reports.values())
        if step.number % length:
            continue
        if step.epoch + 1 in noted:
            accuracy, loss = assess(network, data)
            share = zero / (step.number * sum(p.numel() for p in parameters))
            rows.append(
                {
                    "epoch": step.epoch + 1,
                    "train_loss": _short(sum(losses) / length),
                    "accuracy": _short(accuracy),
                    "loss": _short(loss),
                    "q": optimizer.resolution.q,
                    "zero": _short(share),
                }
            )
        losses.clear()
    lost = {"train_loss": math.inf, "accuracy": learning.CHANCE, "loss": math.inf}
    lost |= {"q": optimizer.resolution.q, "zero": rows[-1]["zero"] if rows else 0.0}
    return rows + [{"epoch": epoch} | lost for epoch in noted[len(rows) :]]


def make(
    name: str, parameters: list[nn.Parameter], rate: float, policy: Policy, weight: Fixed | None
) -> QtSGD | QtAdam:
    """Return an optimizer, Adam with the epsilon of the authors' own."""
    if name == "SGD":
        return QtSGD(parameters, rate, resolution=policy, weight=weight)
    return QtAdam(
        parameters, rate, eps=1e-6, eps_before_correction=True, resolution=policy, weight=weight
    )


def assess(network: nn.Module, data: Digits, *, diverged: bool = False) -> tuple[float, float]:
    """Return accuracy and loss on the test images, with the running averages of training."""
    network.eval()
    try:
        return learning.evaluate(network, data, diverged=diverged)
    finally:
        network.train()


def _data(cell: Cell) -> Digits:
    task = TASKS[cell["task"]]
    if cell["task"] == "digits":
        data = learning.load(cell["seed"])
    else:
        data = cifar10.load(cell["archive"])
    if cell["part"] == "validation":
        held = min(task.held, len(data.train_labels) // 5)
        data = tuning.hold_out(data, held, cell["seed"])
    if cell["task"] == "CIFAR-10" and torch.cuda.is_available():
        return Digits(*(getattr(data, name).cuda() for name in Digits.__dataclass_fields__))
    return data


def _short(number: float) -> float:
    """Return a number with the digits that matter, which keeps the table small."""
    return float(f"{number:.6g}")


EXPERIMENT = Experiment(
    name="table1",
    columns=COLUMNS,
    quick=Table1(
        seeds=(0, 1),
        rates=(3, 10),
        arms=((PLAIN, FLOAT), ("Band, no vanish", FIXED), ("Authors", FLOAT)),
        epochs=3,
    ),
    full=Table1(
        seeds=tuple(range(20)),
        rates=tuple(range(2, 11)),
        arms=(
            (PLAIN, FLOAT),
            *((policy, weights) for weights in WEIGHTS for policy in POLICIES if policy != PLAIN),
        ),
    ),
    plan=plan,
    measure=measure,
    summarize=summarize,
    report=table1_report.report,
    plots=table1_report.plots,
    expect=expect,
)
