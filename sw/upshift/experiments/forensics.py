"""Why the vanish test of the published code drives q to its limit, and what that means.

The test asks whether the *sum* of a quantized step is zero. Softmax with cross-entropy gives the
last bias a gradient whose sum is zero by construction: what is left of the sum after quantization
is rounding error alone, an integer near zero, and each time that it is zero q rises. The arms
change one thing at a time: the test, the loss, the optimizer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from upshift import digits
from upshift.experiments import forensics_report, learning, statistics
from upshift.experiments.experiment import Cell, Experiment, Settings, Summary
from upshift.experiments.forensics_report import by_run
from upshift.experiments.published import LIMIT
from upshift.experiments.table import Column, Row
from upshift.optim import QtAdam, QtSGD
from upshift.resolution import Authors, Band, Constant, Policy

CLASSES = 10
MARGIN = 0.5
"""Accuracies that differ by less, in points, are as good as equal."""
WINDOW = (3, 11)
"""Bits above the first mini-batch's q between which the last bias is watched."""


def _logistic(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of ten independent yes-or-no questions: no sum is zero by construction."""
    wanted = nn.functional.one_hot(labels, CLASSES).to(outputs.dtype)
    return nn.functional.binary_cross_entropy_with_logits(outputs, wanted)


def _all_zero() -> Policy:
    """Return the paper's own test with the published code's limit, and no schedule either."""
    return Band(limit=LIMIT, beta=1e9)  # a band so wide that its lower edge never counts


@dataclass(frozen=True)
class _Arm:
    adam: bool
    policy: Callable[[], Policy]
    loss: learning.Loss
    reference: str


# At q = 64 the step of a float32 is what it would be without any quantizer.
_ARMS = {
    "SGD": _Arm(False, lambda: Constant(64), nn.functional.cross_entropy, "SGD"),
    "SGD, sum": _Arm(False, Authors, nn.functional.cross_entropy, "SGD"),
    "SGD, all zero": _Arm(False, _all_zero, nn.functional.cross_entropy, "SGD"),
    "SGD, sum, logistic": _Arm(False, Authors, _logistic, "SGD"),
    "Adam": _Arm(True, lambda: Constant(64), nn.functional.cross_entropy, "Adam"),
    "Adam, sum": _Arm(True, Authors, nn.functional.cross_entropy, "Adam"),
}

COLUMNS = (
    Column("arm", str, "optimizer, vanish test if it is quantized, loss if not softmax", (*_ARMS,)),
    learning.RATE,
    learning.SEED,
    Column("step", int, "mini-batch, from 1; noted where q rose, and at the end of epochs", low=1),
    Column("loss", float, "training loss of the mini-batch; infinite if it diverged", low=0),
    Column("q", int, "resolution after the mini-batch", low=0, high=64),
    Column("raises", int, "raises so far by the vanish test, all tensors", low=0),
    Column("bias_raises", int, "raises so far by the last bias", low=0),
    Column("zero", float, "share of the mini-batch's steps that were zero", low=0, high=1),
    Column(
        "changed",
        float,
        "share of the weights that an unquantized SGD step would have left elsewhere",
        low=0,
        high=1,
        optional=True,
    ),
    Column(
        "accuracy",
        float,
        "on the test images, after the last mini-batch; chance if it diverged",
        low=0,
        high=1,
        optional=True,
    ),
)


@dataclass(frozen=True)
class Forensics(Settings):
    """What decides the cells: learning rates 2^-k and epochs of ten mini-batches."""

    rates: tuple[int, ...]
    epochs: int


def plan(settings: Forensics, rows: Sequence[Row]) -> list[Cell]:
    """Return a cell for each arm, rate and seed."""
    return [
        {"arm": arm, "rate": rate, "seed": seed, "epochs": settings.epochs}
        for arm in _ARMS
        for rate in settings.rates
        for seed in settings.seeds
    ]


# -- a cell ---------------------------------------------------------------------------------------


def measure(cell: Cell) -> list[Row]:
    """Train once, and note every raise of q."""
    arm, seed, epochs = _ARMS[cell["arm"]], cell["seed"], cell["epochs"]
    data = learning.load(seed)
    network = digits.network(seed)
    parameters = list(network.parameters())
    policy = arm.policy()
    lr = 2.0 ** -cell["rate"]
    optimizer: QtSGD | QtAdam = (
        QtAdam(parameters, lr, eps=1e-6, eps_before_correction=True, resolution=policy)
        if arm.adam
        else QtSGD(parameters, lr, resolution=policy)
    )
    rows: list[Row] = []
    last, raises = len(parameters) - 1, 0
    before = [p.detach().clone() for p in parameters]
    steps = learning.train(
        network, data, optimizer, epochs=epochs, batch=learning.BATCH, seed=seed, loss=arm.loss
    )
    for step in steps:
        by_tensor = policy.raises["vanish"]
        end = step.number % (learning.TRAINED // learning.BATCH) == 0
        if end or step.diverged or sum(by_tensor.values()) > raises:
            raises = sum(by_tensor.values())
            reports = [optimizer.reports[p] for p in parameters if p in optimizer.reports]
            moved = sum(report.nonzero for report in reports)
            rows.append(
                {
                    "step": step.number,
                    "loss": step.loss,
                    "q": policy.q,
                    "raises": raises,
                    "bias_raises": by_tensor.get(last, 0),
                    "zero": 1 - moved / max(1, sum(report.elements for report in reports)),
                    "changed": None if arm.adam else _changed(parameters, before, lr),
                    "accuracy": None,
                }
            )
        before = [p.detach().clone() for p in parameters]
    rows[-1]["accuracy"], _ = learning.evaluate(network, data, diverged=step.diverged)
    return rows


def _changed(parameters: list[nn.Parameter], before: list[Tensor], lr: float) -> float:
    """Return the share of weights that are not where an unquantized step would have put them."""
    different = 0
    for p, old in zip(parameters, before, strict=True):
        assert p.grad is not None
        different += int(torch.count_nonzero(p.detach() != old - lr * p.grad))
    return different / sum(p.numel() for p in parameters)


# -- what the rows say ----------------------------------------------------------------------------


def expected_raises(classes: int) -> float:
    """Return how many raises a mini-batch brings, in the mean, if its sum is zero but for rounding.

    The elements of a gradient sum to zero. If the fractions that rounding removes are independent
    and uniform, but for this sum, then the quantized sum is the integer next to the sum of
    ``classes - 1`` uniform numbers of -1/2 to 1/2. It is zero with the probability p that this sum
    lies within -1/2 to 1/2 (Irwin-Hall), and each zero is one raise and another trial:
    p / (1 - p) in the mean. Two classes would always cancel.
    """
    n = classes - 1

    def below(x: float) -> float:
        terms = (
            (-1) ** k * math.comb(n, k) * (x + n / 2 - k) ** n
            for k in range(math.floor(x + n / 2) + 1)
        )
        return math.fsum(terms) / math.factorial(n)

    p = below(0.5) - below(-0.5)
    return p / (1 - p)


def summarize(rows: Sequence[Row]) -> Summary:
    """Return what each arm came to at each rate, and the paired differences."""
    runs = by_run(rows)
    rates = sorted({rate for _, rate, _ in runs})
    seeds = sorted({seed for _, _, seed in runs})
    points = {which: 100 * run[-1]["accuracy"] for which, run in runs.items()}
    return {
        "rates": rates,
        "runs_each": len(rates) * len(seeds),
        "arms": [
            _arm_summary(arm, rate, [runs[arm, rate, seed] for seed in seeds])
            for arm in _ARMS
            for rate in rates
        ],
        "reached": {
            arm: sum(runs[arm, rate, seed][-1]["q"] == LIMIT for rate in rates for seed in seeds)
            for arm in _ARMS
        },
        "raises_expected": expected_raises(CLASSES),
        "raises_measured": _raises_measured([run for at, run in runs.items() if _softmax_sum(at)]),
        "differences": {
            name: _difference(arm, points, rates, seeds)
            for name, arm in (("SGD", "SGD, sum"), ("Adam", "Adam, sum"))
        },
        "spread": {name: _spread(name, points, rates, seeds) for name in ("SGD", "Adam")},
    }


def _softmax_sum(which: tuple[str, int, int]) -> bool:
    return which[0] == "SGD, sum"


def _arm_summary(arm: str, rate: int, runs: list[list[Row]]) -> Summary:
    ends = [run[-1] for run in runs]
    arrivals = [
        next(row["step"] for row in run if row["q"] == LIMIT)
        for run in runs
        if run[-1]["q"] == LIMIT
    ]
    accuracy = statistics.mean([100 * end["accuracy"] for end in ends])
    return {
        "arm": arm,
        "rate": rate,
        "q": [min(end["q"] for end in ends), max(end["q"] for end in ends)],
        "latest_arrival": max(arrivals, default=None),
        "bias_share": sum(end["bias_raises"] for end in ends)
        / max(1, sum(end["raises"] for end in ends)),
        "accuracy": asdict(accuracy),
        "diverged": sum(math.isinf(end["loss"]) for end in ends),
        "zero": sum(end["zero"] for end in ends) / len(ends),
        "changed": None
        if ends[0]["changed"] is None
        else sum(end["changed"] for end in ends) / len(ends),
        "changed_at_limit": max(map(_changed_at_limit, runs)),
    }


def _changed_at_limit(run: list[Row]) -> float:
    """Return the largest share that quantization moved in a step that began at the limit."""
    at_limit = [row["changed"] or 0.0 for row in run if row["q"] == LIMIT]
    return max(at_limit[1:], default=0.0)  # the first of them was on its way there


def _raises_measured(runs: list[list[Row]]) -> Summary:
    """Return raises by the last bias and mini-batches, while its sum is zero but for rounding.

    That is from some bits above the resolution at which the first step moved something, where
    fractions are uniform, to some bits below that at which float32 has no more digits.
    """
    raises = batches = 0
    for run in runs:
        start, end = (
            next((row for row in run if row["q"] >= run[0]["q"] + bits), run[-1]) for bits in WINDOW
        )
        raises += end["bias_raises"] - start["bias_raises"]
        batches += end["step"] - start["step"]
    return {"raises": raises, "batches": batches}


def _difference(
    arm: str, points: dict[tuple[str, int, int], float], rates: list[int], seeds: list[int]
) -> Summary:
    """Compare an arm with its reference as the paper does, over all rates, but once per seed."""
    reference = _ARMS[arm].reference
    by_seed = [
        sum(points[arm, rate, seed] - points[reference, rate, seed] for rate in rates) / len(rates)
        for seed in seeds
    ]
    return {
        "mean": asdict(statistics.mean(by_seed)),
        "equivalence": asdict(statistics.equivalence(by_seed, MARGIN)),
    }


def _spread(
    arm: str, points: dict[tuple[str, int, int], float], rates: list[int], seeds: list[int]
) -> float:
    """Return the deviation of the difference of two single runs of the same arm."""
    at_each = [
        statistics.mean([points[arm, rate, seed] for seed in seeds]).deviation for rate in rates
    ]
    return math.sqrt(2 * sum(each**2 for each in at_each) / len(at_each))


def expect(summary: Summary) -> list[str]:
    """Return what is not as it is known to be."""
    reached, runs = summary["reached"], summary["runs_each"]
    wrong = []
    if reached["SGD, sum"] != runs:
        wrong.append(f"the sum test reached {LIMIT} in {reached['SGD, sum']} of {runs} runs")
    if reached["SGD, all zero"]:
        wrong.append(f"the all-zero test reached {LIMIT}")
    return wrong


EXPERIMENT = Experiment(
    name="forensics",
    columns=COLUMNS,
    quick=Forensics(seeds=(0, 1), rates=(2, 6), epochs=12),
    full=Forensics(seeds=tuple(range(5)), rates=tuple(range(2, 11)), epochs=40),
    plan=plan,
    measure=measure,
    summarize=summarize,
    report=forensics_report.report,
    plots=forensics_report.plots,
    expect=expect,
)
