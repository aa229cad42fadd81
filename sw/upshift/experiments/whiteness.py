"""Whether the quantization error is uniform and white on real iterates, and where it is not."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import stats

from upshift import digits
from upshift.experiments import errors, learning, whiteness_report
from upshift.experiments.errors import (
    BINS,
    COLOURED,
    CORRELATED,
    LAGS,
    UNEVEN,
    Errors,
    Series,
)
from upshift.experiments.experiment import Cell, Experiment, Settings, Summary
from upshift.experiments.table import Column, Row
from upshift.experiments.whiteness_report import CONTROL
from upshift.formats import Fixed
from upshift.optim import QtSGD, adam
from upshift.optim._direction import scalars
from upshift.resolution import Band, Constant, Policy

WEIGHT = Fixed(18, 16)
SHARES = (0.0, 0.01, 0.1, 0.5, 1.0)
"""Shares of steps that moved something, by which windows are sorted."""

_POLICIES: dict[str, Callable[[], Policy]] = {
    "Band": Band,
    "Band, no vanish": lambda: Band(vanish=False),
    CONTROL: lambda: Constant(16),
}

COLUMNS = (
    Column("part", str, "a window of time, or one bin of the whole run", ("window", "histogram")),
    learning.OPTIMIZER,
    learning.RATE,
    Column("policy", str, "what decides q", (*_POLICIES,)),
    learning.SEED,
    Column("layer", str, "the parameter tensor"),
    Column("number", int, "of the window or of the bin, from 0", low=0),
    Column("q", int, "resolution of the tensor, at the end of the window", low=0, optional=True),
    Column("moved", float, "share of the steps that were not zero", low=0, high=1, optional=True),
    Column("silent", float, "share of the gradients that were zero", low=0, high=1, optional=True),
    Column("chi_square", float, f"of {BINS} equal bins, all steps", low=0, optional=True),
    Column("effect", float, "its effect size w, less that of chance", low=0, optional=True),
    Column("chi_square_moved", float, "that of steps that moved", low=0, optional=True),
    Column("effect_moved", float, "w of the steps that moved", low=0, optional=True),
    Column("variance", float, "mean square, uniform = 1", low=0, high=3.1, optional=True),
    Column("variance_moved", float, "that of steps that moved", low=0, high=3.1, optional=True),
    Column("mean", float, "of the errors, grid steps", low=-0.5, high=0.5, optional=True),
    Column(
        "step",
        float,
        "correlation of error and step, about zero",
        low=-1.1,
        high=1.1,
        optional=True,
    ),
    Column("step_moved", float, "that of steps that moved", low=-1.1, high=1.1, optional=True),
    Column("flatness", float, "of the spectrum over time, white = 1", low=0, optional=True),
    Column(
        "flatness_moved", float, "that of weights that moved in every step", low=0, optional=True
    ),
    *(
        Column(f"lag{lag}", float, f"autocorrelation at lag {lag}", low=-2, high=2, optional=True)
        for lag in LAGS
    ),
    *(
        Column(
            f"lag{lag}_moved",
            float,
            f"at lag {lag}, where both steps moved",
            low=-1.1,
            high=1.1,
            optional=True,
        )
        for lag in LAGS
    ),
    Column("signal", float, "that of unquantized steps, at lag 1", low=-2, high=2, optional=True),
    Column("share", float, "of all errors (histogram)", low=0, high=1, optional=True),
    Column("share_moved", float, "of those that moved", low=0, high=1, optional=True),
)


@dataclass(frozen=True)
class Whiteness(Settings):
    """What decides the cells.

    Attributes
    ----------
    rates : dict
        k of the learning rates 2^-k, by optimizer.
    window, windows : int
        Steps in a window of time, and how many there are.
    """

    rates: dict[str, tuple[int, ...]]
    window: int
    windows: int


def plan(settings: Whiteness, rows: Sequence[Row]) -> list[Cell]:
    """Return a cell for each optimizer, rate, policy and seed."""
    return [
        {"optimizer": optimizer, "rate": rate, "policy": policy, "seed": seed,
         "window": settings.window, "windows": settings.windows}
        for optimizer, rates in settings.rates.items()
        for rate in rates
        for policy in _POLICIES
        for seed in settings.seeds
    ]  # fmt: skip


# -- a cell ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Observed:
    """One tensor in one step: lambda * h before quantization, and q."""

    step: Series
    q: int


def observe(cell: Cell) -> Iterator[list[Observed]]:
    """Train, and yield what every tensor's quantizer saw, step by step."""
    seed, steps = cell["seed"], cell["window"] * cell["windows"]
    data = learning.load(seed)
    network = digits.network(seed)
    parameters = list(network.parameters())
    policy, lr = _POLICIES[cell["policy"]](), 2.0 ** -cell["rate"]
    optimizer: Any = learning.OPTIMIZERS[cell["optimizer"]](
        parameters, lr, resolution=policy, weight=WEIGHT
    )
    before, epoch = copy.deepcopy(policy), 0
    before.bind(WEIGHT.fraction)
    epochs = -(-steps // (learning.TRAINED // learning.BATCH))
    training = learning.train(
        network, data, optimizer, epochs=epochs, batch=learning.BATCH, seed=seed
    )
    for step in training:
        if step.diverged or step.number > steps:
            return
        if step.epoch > epoch:
            before.step()
            epoch = step.epoch
        # The policy is asked once more, as it was before the step, for the q of each tensor.
        yield [
            Observed(
                _direction(optimizer, p) * lr,
                before.observe(tensor, optimizer.reports[p].resolution_needed),
            )
            for tensor, p in enumerate(parameters)
        ]


def _direction(optimizer: Any, p: Any) -> Series:
    """Return h of the last step, flat, with the same bits as the optimizer."""
    if isinstance(optimizer, QtSGD):
        return np.asarray(p.grad.numpy().ravel().copy())
    group, state = optimizer.param_groups[0], optimizer.state[p]
    moments = state["exp_avg"], state["exp_avg_sq"]
    rule = adam.AdamDirection(maximize=False, coupled=False, decoupled=False, early=False)
    h = rule(p, p.grad, moments, scalars(adam.numbers(group, state["step"]), p))
    return np.asarray(h.numpy().ravel())


def measure(cell: Cell) -> list[Row]:
    """Train once, and describe the errors by tensor and window, and by tensor alone."""
    names = [name for name, _ in digits.network(cell["seed"]).named_parameters()]
    rows: list[Row] = []
    counts = np.zeros((len(names), 2, BINS), np.int64)
    gathered: list[list[Observed]] = []
    for observed in observe(cell):
        gathered.append(observed)
        if len(gathered) < cell["window"]:
            continue
        for tensor, name in enumerate(names):
            mine = [each[tensor] for each in gathered]
            found = _errors(mine)
            own = {"layer": name, "number": len(rows) // len(names), "q": mine[-1].q}
            rows.append(own | _window(found))
            counts[tensor, 0] += errors.histogram(found.error)
            counts[tensor, 1] += errors.histogram(found.error[found.moved])
        gathered = []
    empty = {column.name: None for column in COLUMNS if column.optional}
    rows = [{"part": "window", **empty, **row} for row in rows]
    for tensor, name in enumerate(names):
        for number in range(BINS):
            shares = [int(part[number]) / max(1, int(part.sum())) for part in counts[tensor]]
            own = {"layer": name, "number": number, "share": shares[0], "share_moved": shares[1]}
            rows.append({"part": "histogram", **empty, **own})
    return rows


def _errors(observed: Sequence[Observed]) -> Errors:
    pairs = [errors.quantize(each.step, each.q) for each in observed]
    return Errors(
        np.stack([error for error, _ in pairs]),
        np.stack([moved for _, moved in pairs]),
        np.stack([np.asarray(each.step, np.float64) for each in observed]),
    )


def _window(found: Errors) -> Row:
    everything, moved = found.error, found.error[found.moved]
    steps = found.signal[found.moved]
    counts, own = errors.histogram(everything), errors.histogram(moved)
    return {
        "moved": float(found.moved.mean()),
        "silent": float((found.signal == 0).mean()),
        "chi_square": errors.chi_square(counts),
        "effect": errors.effect(counts),
        "chi_square_moved": errors.chi_square(own) if moved.size else None,
        "effect_moved": errors.effect(own) if moved.size else None,
        "variance": errors.variance(everything),
        "variance_moved": errors.variance(moved) if moved.size else None,
        "mean": float(everything.mean()),
        "step": errors.correlation(everything, found.signal),
        "step_moved": errors.correlation(moved, steps),
        "flatness": errors.flatness(everything),
        "flatness_moved": errors.flatness_moved(found),
        **{f"lag{lag}": errors.autocorrelation(everything, lag) for lag in LAGS},
        **{f"lag{lag}_moved": errors.autocorrelation_moved(found, lag) for lag in LAGS},
        "signal": errors.autocorrelation(found.signal, 1),
    }


# -- what the rows say ----------------------------------------------------------------------------

_NUMBERS = (
    "moved", "silent", "effect", "effect_moved", "variance", "variance_moved", "mean",
    "step", "step_moved", "flatness", "flatness_moved",
    *(f"lag{lag}{what}" for lag in LAGS for what in ("", "_moved")), "signal",
)  # fmt: skip


def summarize(rows: Sequence[Row]) -> Summary:
    """Return what the windows come to: in all, by arm, by layer, by how many steps moved."""
    windows = [row for row in rows if row["part"] == "window"]
    published = [row for row in windows if row["policy"] != CONTROL]
    return {
        "published": _grouped(published, ("optimizer",)),
        "control": _grouped([row for row in windows if row["policy"] == CONTROL], ("optimizer",)),
        "arms": _grouped(windows, ("optimizer", "rate", "policy")),
        "layers": _grouped(published, ("optimizer", "layer")),
        "moved": [
            {"optimizer": optimizer, "from": low, "to": high, **_mean(some)}
            for optimizer in learning.OPTIMIZERS
            for low, high in pairwise(SHARES)
            if (some := [row for row in windows if _between(row, optimizer, low, high)])
        ],
    }


def _between(row: Row, optimizer: str, low: float, high: float) -> bool:
    inside = low <= row["moved"] < high or row["moved"] == high == 1
    return bool(inside and row["optimizer"] == optimizer)


def _grouped(windows: list[Row], names: tuple[str, ...]) -> list[Summary]:
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in windows:
        groups[tuple(row[name] for name in names)].append(row)
    return [dict(zip(names, which, strict=True)) | _mean(some) for which, some in groups.items()]


def _mean(windows: list[Row]) -> Summary:
    """Return means, deviations of the seeds' means, and how many windows speak against it."""
    found: Summary = {"windows": len(windows)}
    for name in _NUMBERS:
        by_seed: dict[int, list[float]] = defaultdict(list)
        for row in windows:
            if row[name] is not None:
                by_seed[row["seed"]].append(row[name])
        each = [float(np.mean(values)) for values in by_seed.values()]
        every = [value for values in by_seed.values() for value in values]
        found[name] = (
            [float(np.mean(every)), float(np.std(each, ddof=1))] if len(each) > 1 else None
        )
    critical = float(stats.chi2.ppf(0.99, BINS - 1))
    return found | {
        "rejected": float(np.mean([row["chi_square"] > critical for row in windows])),
        "uneven": float(np.mean([row["effect"] > UNEVEN for row in windows])),
        "dependent": float(np.mean([_dependent(row) for row in windows])),
        "coloured": float(np.mean([_coloured(row) for row in windows])),
    }


def _dependent(row: Row) -> bool:
    """Return whether errors depend on the steps; where there are none, they do not."""
    return row["step"] is not None and abs(row["step"]) > CORRELATED


def _coloured(row: Row) -> bool:
    """Return whether a window is not white; one in which nothing varies is not."""
    flat, lag = row["flatness"], row["lag1"]
    return flat is None or lag is None or flat < COLOURED or abs(lag) > CORRELATED


def expect(summary: Summary) -> list[str]:
    """Return what is not as it is known to be."""
    sgd = {
        (each["from"], each["to"]): each for each in summary["moved"] if each["optimizer"] == "SGD"
    }
    dead, alive = sgd.get(SHARES[:2]), sgd.get(SHARES[-2:])
    if dead is None or alive is None:
        return ["no windows in the dead zone, or none outside"]
    wrong = []
    if not dead["effect"][0] > 1:
        wrong.append("errors in the dead zone look uniform")
    if not alive["effect"][0] < dead["effect"][0] / 2:
        wrong.append("errors of steps that move are no more uniform than in the dead zone")
    if not dead["step"][0] < -0.5 < -0.1 < alive["step"][0] < 0.1:
        wrong.append("errors depend on steps other than by the dead zone")
    if not dead["lag1"][0] > alive["lag1"][0]:
        wrong.append("errors in the dead zone are no more correlated than outside")
    return wrong


EXPERIMENT = Experiment(
    name="whiteness",
    columns=COLUMNS,
    quick=Whiteness(seeds=(0, 1), rates={"SGD": (1, 6), "Adam": (8,)}, window=24, windows=2),
    full=Whiteness(
        seeds=tuple(range(5)), rates={"SGD": (1, 4, 7), "Adam": (6, 9)}, window=64, windows=15
    ),
    plan=plan,
    measure=measure,
    summarize=summarize,
    report=whiteness_report.report,
    plots=whiteness_report.plots,
    expect=expect,
)
