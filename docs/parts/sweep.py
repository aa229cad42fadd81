"""When training stalls: a small, seeded sweep on the digits network.

`measure` trains with plain `torch.optim.SGD`, and with `QtSGD` on weights of several fraction
bits, at three learning rates and three seeds. Torch runs on one thread.
"""

from __future__ import annotations

import io
import statistics
from dataclasses import dataclass

import matplotlib as mpl
import torch
from torch import nn

from upshift import digits
from upshift.formats import Fixed
from upshift.optim import Band, QtSGD

RATES = (1, 4, 7)
FRACTIONS = (6, 8, 10, 12, 14, 16)
SEEDS = (0, 1, 2)
EPOCHS = 15
BATCH = 64
GRADIENT = Fixed(16, 12)


@dataclass(frozen=True)
class Row:
    """What all seeds of one setting came to.

    Attributes
    ----------
    rate : int
        k of the learning rate 2**-k.
    setting : str
    accuracy, worst : float
        Median and worst accuracy on the test images.
    q : int or None
        Largest resolution at the end.
    needed : list of float
        Median q_min of each parameter tensor over all bursts.
    still : float
        Share of the bursts that moved no weight.
    zero : float
        Share of the steps that were zero.
    """

    rate: int
    setting: str
    accuracy: float
    worst: float
    q: int | None
    needed: list[float]
    still: float
    zero: float


@dataclass
class _Run:
    accuracy: float
    q: int | None
    needed: list[list[int]]
    bursts: int
    still: int
    steps: int
    zero: int


def _train(seed: int, make) -> _Run:
    data, network = digits.load(seed), digits.network(seed)
    optimizer = make(network.parameters())
    quantized = isinstance(optimizer, QtSGD)
    parameters = list(network.parameters())
    run = _Run(0.0, None, [[] for _ in parameters], 0, 0, 0, 0)
    order = torch.Generator().manual_seed(seed)
    for epoch in range(EPOCHS):
        if quantized and epoch:
            optimizer.resolution.step()
        for batch in torch.split(torch.randperm(len(data.train_images), generator=order), BATCH):
            optimizer.zero_grad()
            outputs = network(data.train_images[batch])
            nn.functional.cross_entropy(outputs, data.train_labels[batch]).backward()
            optimizer.step()
            if quantized:
                for index, parameter in enumerate(parameters):
                    _count(run, index, optimizer.reports[parameter])
    run.q = optimizer.resolution.q if quantized else None
    with torch.no_grad():
        right = network(data.test_images).argmax(1) == data.test_labels
    run.accuracy = float(right.double().mean())
    return run


def _count(run: _Run, index: int, report) -> None:
    run.bursts += 1
    run.still += report.nonzero == 0
    run.steps += report.elements
    run.zero += report.elements - report.nonzero
    if report.resolution_needed is not None:
        run.needed[index].append(report.resolution_needed)


def _row(rate: int, setting: str, make) -> Row:
    runs = [_train(seed, make) for seed in SEEDS]
    accuracies = [run.accuracy for run in runs]
    tensors = len(runs[0].needed)
    found = [[n for run in runs for n in run.needed[index]] for index in range(tensors)]
    return Row(
        rate,
        setting,
        statistics.median(accuracies),
        min(accuracies),
        None if runs[0].q is None else max(run.q for run in runs),
        [statistics.median(values) for values in found if values],
        sum(run.still for run in runs) / max(1, sum(run.bursts for run in runs)),
        sum(run.zero for run in runs) / max(1, sum(run.steps for run in runs)),
    )


def measure() -> list[Row]:
    """Return one row per learning rate and setting."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = []
    try:
        for rate in RATES:
            lr = 2.0**-rate
            rows.append(_row(rate, "float SGD", lambda p, lr=lr: torch.optim.SGD(p, lr)))
            for fraction in FRACTIONS:
                rows.append(_row(rate, f"F = {fraction}", _quantized(lr, fraction, None)))
            rows.append(_row(rate, "F = 16, limit 16", _quantized(lr, 16, 16)))
    finally:
        torch.set_num_threads(before)
    return rows


def _quantized(lr: float, fraction: int, limit: int | None):
    weight = Fixed(fraction + 2, fraction)
    return lambda p: QtSGD(p, lr, resolution=Band(limit=limit), weight=weight, gradient=GRADIENT)


def to_markdown(rows: list[Row]) -> str:
    """Return the rows as a table, and q_min by tensor as another."""
    lines = [
        "| learning rate | weights | accuracy, median | worst | last q | bursts without effect "
        "| zero steps |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        counts = "| | | |" if row.q is None else f"| {row.q} | {row.still:.1%} | {row.zero:.1%} |"
        lines.append(
            f"| 2^-{row.rate} | {row.setting} | {row.accuracy:.1%} | {row.worst:.1%} {counts}"
        )
    names = [
        f"`{index}.{name}`"
        for index, layer in enumerate(digits.network(0))
        for name, _ in layer.named_parameters()
    ]
    lines += [
        "",
        f"| median q_min over all bursts | {' | '.join(names)} |",
        f"|---|{'---:|' * len(names)}",
    ]
    for row in rows:
        if row.needed and row.setting in ("F = 8", "F = 16, limit 16"):
            values = " | ".join(f"{value:g}" for value in row.needed)
            lines.append(f"| 2^-{row.rate}, {row.setting} | {values} |")
    return "\n".join(lines) + "\n"


def plot(rows: list[Row]) -> str:
    """Return the accuracies as an SVG."""
    mpl.use("svg")
    from matplotlib import pyplot as plt

    settings = {"svg.fonttype": "none", "svg.hashsalt": "upshift"}
    with mpl.rc_context(settings):
        figure, axes = plt.subplots(figsize=(7.2, 3.6), layout="constrained")
        for rate, colour in zip(RATES, ("#1f5fa8", "#b4690e", "#7a3e9d"), strict=True):
            mine = [row for row in rows if row.rate == rate]
            swept = [
                row for row in mine if row.setting.startswith("F = ") and "," not in row.setting
            ]
            axes.plot(
                FRACTIONS,
                [100 * row.accuracy for row in swept],
                "o-",
                color=colour,
                label=f"learning rate 2^-{rate}",
            )
            worst = [100 * row.worst for row in swept]
            axes.fill_between(
                FRACTIONS, worst, [100 * row.accuracy for row in swept], color=colour, alpha=0.15
            )
            axes.plot(
                [16], [100 * mine[-1].accuracy], "D", color=colour, markerfacecolor="none", ms=10
            )
            axes.axhline(100 * mine[0].accuracy, color=colour, linestyle=":", linewidth=1.2)
        axes.set_xlabel("fraction bits F of the weights")
        axes.set_ylabel("test accuracy, %")
        axes.set_ylim(0, 100)
        axes.grid(alpha=0.25)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        figure.patch.set_facecolor("#fbfcfe")
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
        plt.close(figure)
    return stream.getvalue()
