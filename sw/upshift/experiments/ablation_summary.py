"""What the rows of `ablation` come to: each arm at the rates it chose, and quantized against it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from statistics import median

from upshift.experiments import statistics, tuning
from upshift.experiments.experiment import Summary
from upshift.experiments.table import Row
from upshift.experiments.table1_summary import MARGIN, MOST

Kind = tuple[str, str]
"""Optimizer, and the policy whose q(t) is replayed."""
Runs = dict[str, dict[int, Row]]
"""The judged runs of a kind, by arm and seed."""


def summarize(rows: Sequence[Row]) -> Summary:
    """Return what was recorded, what each arm comes to, and what quantization differs from it."""
    kinds: dict[Kind, Runs] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if row["part"] == "test":
            kinds[row["optimizer"], row["schedule"]][row["arm"]][row["seed"]] = row
    trials = {
        (row["optimizer"], row["rate"], row["arm"]) for row in rows if row["part"] == "validation"
    }
    return {
        "seeds": len({row["seed"] for row in rows}),
        "trials": {
            optimizer: sorted({rate for name, rate, _ in trials if name == optimizer})
            for optimizer in dict.fromkeys(kind[0] for kind in kinds)
        },
        "kinds": [
            {
                "optimizer": kind[0],
                "schedule": kind[1],
                "recorded": _recorded(kind, rows),
                "arms": [_arm(arm, [*found.values()]) for arm, found in runs.items()],
                "comparisons": _comparisons(runs),
            }
            for kind, runs in kinds.items()
        ],
    }


def _recorded(kind: Kind, rows: Sequence[Row]) -> Summary:
    mine = [
        row
        for row in rows
        if (row["part"], row["images"]) == ("record", "test")
        and (row["optimizer"], row["schedule"]) == kind
    ]
    return {
        "rate": mine[0]["rate"],
        "mean": sum(row["mean_q"] for row in mine) / len(mine),
        "last": [min(row["q"] for row in mine), max(row["q"] for row in mine)],
    }


def _arm(arm: str, rows: list[Row]) -> Summary:
    losses = sorted(row["loss"] for row in rows)
    middle = losses[len(losses) // 2]  # the worse of two
    errors = [row["error"] for row in rows if row["error"] is not None]
    return {
        "arm": arm,
        "accuracy": asdict(statistics.mean([100 * row["accuracy"] for row in rows])),
        "median": 100 * median(row["accuracy"] for row in rows),
        "least": 100 * min(row["accuracy"] for row in rows),
        "loss": None if math.isinf(middle) else middle,
        "diverged": sum(math.isinf(loss) for loss in losses),
        "chosen": tuning.share([row["rate"] for row in rows]),
        "zero": sum(row["zero"] for row in rows) / len(rows),
        "error": sum(errors) / len(errors) if errors else None,
    }


def _comparisons(runs: Runs) -> list[Summary]:
    """Compare the quantized arm with each other one, paired by seed; Holm's p over the arms."""
    others = [arm for arm in runs if arm != "quantized"]

    def differences(value: Callable[[Row], float]) -> list[list[float]]:
        mine = runs["quantized"]
        return [
            [value(mine[seed]) - value(row) for seed, row in sorted(runs[arm].items())]
            for arm in others
        ]

    accuracy = differences(lambda row: 100 * float(row["accuracy"]))
    means = [statistics.mean(each) for each in accuracy]
    losses = [
        statistics.mean(each) for each in differences(lambda row: min(float(row["loss"]), MOST))
    ]
    margins = [statistics.equivalence(each, MARGIN) for each in accuracy]
    p, p_loss, p_equal = (
        statistics.holm([each.p for each in found]) for found in (means, losses, margins)
    )
    return [
        {
            "arm": arm,
            "accuracy": {"mean": asdict(means[i]), "p": p[i], "p_equal": p_equal[i]},
            "loss": {"mean": asdict(losses[i]), "p": p_loss[i]},
        }
        for i, arm in enumerate(others)
    ]


def expect(summary: Summary) -> list[str]:
    """Return what is not as it is known to be."""
    wrong = []
    for kind in summary["kinds"]:
        name = f"{kind['optimizer']}, {kind['schedule']}"
        arms = {each["arm"]: each for each in kind["arms"]}
        # Most steps are far below the grid, where the error is the step, and no more.
        measured, nominal = (arms[f"Gaussian, {each}"]["error"] for each in ("measured", "nominal"))
        if not measured < nominal:
            wrong.append(
                f"{name}: the error is {measured:.2g}, not below the nominal {nominal:.2g}"
            )
        if not arms["quantized"]["zero"] > arms["plain"]["zero"]:
            wrong.append(f"{name}: quantization made no step zero")
    return wrong
