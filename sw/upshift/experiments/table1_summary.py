"""What the rows of `table1` come to: the table, and quantized against plain over its rates.

One number a seed: what is averaged over rates is averaged first, and then compared with the plain
optimizer of the same seed. A run that diverged counts as guessing, and its loss as the largest.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict

from upshift.experiments import statistics, tuning
from upshift.experiments.experiment import Summary
from upshift.experiments.table import Row

PLAIN, FLOAT = "plain", "float32"
LARGEST = 3
"""How many of the largest rates the secondary endpoint has."""
MARGIN = 0.5
"""Accuracies that differ by less, in points, are as good as equal."""
MOST = 10.0
"""What a larger test loss counts as where losses are averaged; guessing has ln 10 = 2.3."""

HIGHEST = 12
"""The upper edge of the published band in its first hundred epochs, rounded up."""

Arm = tuple[str, str, str]
"""Optimizer, policy and format of the weights."""
ARM = ("optimizer", "policy", "weights")
Runs = dict[int, dict[int, Row]]
"""The runs of an arm, by rate and seed."""


def summarize(rows: Sequence[Row]) -> Summary:
    """Return accuracies and losses, and what quantization changes, at each rate and overall."""
    last = max(row["epoch"] for row in rows)
    ends = [row for row in rows if row["epoch"] == last]
    tests: dict[Arm, dict[int, dict[int, Row]]] = defaultdict(lambda: defaultdict(dict))
    for row in ends:
        if row["part"] == "test":
            tests[_arm(row)][row["rate"]][row["seed"]] = row
    chosen = tuning.choose((row for row in ends if row["part"] == "validation"), (*ARM, "seed"))
    quantized = [arm for arm in tests if arm[1] != PLAIN]
    return {
        "task": rows[0]["task"],
        "epochs": last,
        "rates": [*next(iter(tests.values()))],
        "seeds": len({row["seed"] for row in rows}),
        "cells": _cells(tests),
        "arms": [_arm_summary(arm, tests[arm], chosen, rows) for arm in tests],
        "comparisons": _comparisons(quantized, tests, chosen),
    }


def _arm(row: Row) -> Arm:
    return row["optimizer"], row["policy"], row["weights"]


def _plain(arm: Arm) -> Arm:
    return arm[0], PLAIN, FLOAT


def _named(arm: Arm) -> Summary:
    return dict(zip(ARM, arm, strict=True))


def _points(runs: dict[int, Row]) -> list[float]:
    """Return the accuracies at one rate, in points, in the order of the seeds."""
    return [100 * row["accuracy"] for _, row in sorted(runs.items())]


def _cells(tests: dict[Arm, Runs]) -> list[Summary]:
    """Return every arm at every rate; p is adjusted for the number of all of them."""
    cells: list[Summary] = []
    compared: list[tuple[Summary, float]] = []
    for arm, by_rate in tests.items():
        for rate, runs in by_rate.items():
            losses = sorted(row["loss"] for row in runs.values())
            middle = losses[len(losses) // 2]  # the worse of two
            cell = _named(arm) | {
                "rate": rate,
                "accuracy": asdict(statistics.mean(_points(runs))),
                "loss": None if math.isinf(middle) else middle,
                "diverged": sum(math.isinf(loss) for loss in losses),
                "difference": None,
                "p": None,
            }
            if arm[1] != PLAIN:
                found = statistics.paired(_points(runs), _points(tests[_plain(arm)][rate]))
                cell["difference"] = asdict(found)
                compared.append((cell, found.p))
            cells.append(cell)
    adjusted = statistics.holm([p for _, p in compared])
    for (cell, _), p in zip(compared, adjusted, strict=True):
        cell["p"] = p
    return cells


def _tuned_points(runs: Runs, arm: Arm, chosen: dict[tuning.Which, int]) -> list[float]:
    seeds = sorted(next(iter(runs.values())))
    return [100 * float(runs[chosen[*arm, seed]][seed]["accuracy"]) for seed in seeds]


def _arm_summary(
    arm: Arm, runs: Runs, chosen: dict[tuning.Which, int], rows: Sequence[Row]
) -> Summary:
    smallest = max(runs)
    first = [
        row["zero"]
        for row in rows
        if _arm(row) == arm and (row["part"], row["rate"], row["epoch"]) == ("test", smallest, 1)
    ]
    q = [row["q"] for at_rate in runs.values() for row in at_rate.values()]
    return _named(arm) | {
        "tuned": asdict(statistics.mean(_tuned_points(runs, arm, chosen))),
        "chosen": tuning.share([chosen[*arm, seed] for seed in sorted(runs[smallest])]),
        "q": [min(q), max(q)],
        "first_zero": sum(first) / len(first),
    }


def _over(runs: Runs, rates: Sequence[int], value: Callable[[Row], float]) -> list[float]:
    """Return, for each seed, the mean of a value over some rates."""
    seeds = sorted(runs[rates[0]])
    return [sum(value(runs[rate][seed]) for rate in rates) / len(rates) for seed in seeds]


def _comparisons(
    quantized: list[Arm], tests: dict[Arm, Runs], chosen: dict[tuning.Which, int]
) -> list[Summary]:
    """Compare each quantized arm with its plain one, once per seed; Holm's p over the arms."""

    def accuracy(row: Row) -> float:
        return 100 * float(row["accuracy"])

    def loss(row: Row) -> float:
        return min(float(row["loss"]), MOST)

    def difference(arm: Arm, values: Callable[[Arm], list[float]]) -> list[float]:
        return [x - y for x, y in zip(values(arm), values(_plain(arm)), strict=True)]

    rates = sorted(next(iter(tests.values())))
    endpoints: dict[str, Callable[[Arm], list[float]]] = {
        "all": lambda arm: _over(tests[arm], rates, accuracy),
        "largest": lambda arm: _over(tests[arm], rates[:LARGEST], accuracy),
        "tuned": lambda arm: _tuned_points(tests[arm], arm, chosen),
        "loss": lambda arm: _over(tests[arm], rates, loss),
    }
    found = {arm: _named(arm) for arm in quantized}
    for name, values in endpoints.items():
        differences = [difference(arm, values) for arm in quantized]
        means = [statistics.mean(each) for each in differences]
        margins = [statistics.equivalence(each, MARGIN) for each in differences]
        p = statistics.holm([each.p for each in means])
        p_equal = statistics.holm([each.p for each in margins])
        for arm, mean, margin, first, second in zip(
            quantized, means, margins, p, p_equal, strict=True
        ):
            found[arm][name] = {"mean": asdict(mean), "p": first}
            if name != "loss":
                found[arm][name] |= {"equivalence": asdict(margin), "p_equal": second}
    return [*found.values()]


def expect(summary: Summary) -> list[str]:
    """Return what is not as it is known to be."""
    wrong = []
    for each in summary["arms"]:
        arm = f"{each['policy']} with {each['weights']}"
        if (each["optimizer"], each["policy"]) == ("SGD", "Band, no vanish"):
            # The first epoch is at q = 2, where a step of 2^-10 needs a gradient of 2^7.
            if each["first_zero"] < 0.99:
                wrong.append(f"{arm}: {each['first_zero']:.0%} of the first steps were zero")
            if each["q"][1] > HIGHEST:
                wrong.append(f"{arm}: q reached {each['q'][1]}, above the band")
        # Softmax makes the last bias raise q almost every other mini-batch.
        published = _arm(each) == ("SGD", "Authors", FLOAT)
        if published and each["q"][0] <= HIGHEST:
            wrong.append(f"{arm}: a run ended at q = {each['q'][0]}, within the band")
    return wrong
