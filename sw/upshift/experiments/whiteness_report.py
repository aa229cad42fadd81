"""The report and the plots of `whiteness`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from upshift.experiments.errors import BINS, COLOURED, CORRELATED, UNEVEN
from upshift.experiments.experiment import Summary
from upshift.experiments.table import Row


def report(summary: Summary) -> str:
    """Return the tables and the verdict."""
    heading = (
        "windows | steps that moved | gradients of zero | w, all steps | w, moved | variance "
        "| variance, moved | mean | with the step | with the step, moved | flatness | lag 1 "
        "| lag 8 | lag 1, moved | steps themselves, lag 1 | uneven | dependent | coloured |"
    )
    rule = "---:|" * 18
    lines = [f"| optimizer | learning rate | policy | {heading}", f"|---|---|---|{rule}"]
    lines += [
        f"| {arm['optimizer']} | 2^-{arm['rate']} | {arm['policy']} | {_cells(arm)} |"
        for arm in summary["arms"]
    ]
    lines += ["", "By parameter tensor, all learning rates and policies:", ""]
    lines += [f"| optimizer | tensor | {heading}", f"|---|---|{rule}"]
    lines += [
        f"| {each['optimizer']} | `{each['layer']}` | {_cells(each)} |"
        for each in summary["layers"]
    ]
    lines += ["", "By the share of steps that moved a weight, all tensors:", ""]
    lines += [f"| optimizer | share | {heading}", f"|---|---|{rule}"]
    lines += [
        f"| {each['optimizer']} | {each['from']:.0%} to {each['to']:.0%} | {_cells(each)} |"
        for each in summary["moved"]
    ]
    return "\n".join([*lines, "", *_verdict(summary)]) + "\n"


def _cells(found: Summary) -> str:
    def plain(name: str) -> str:
        return "" if found[name] is None else f"{found[name][0]:.2f} ± {found[name][1]:.2f}"

    names = (
        "effect", "effect_moved", "variance", "variance_moved", "mean", "step", "step_moved",
        "flatness", "lag1", "lag8", "lag1_moved", "signal",
    )  # fmt: skip
    means = (f"{found[name][0]:.0%}" if found[name] else "" for name in ("moved", "silent"))
    shares = (f"{found[name]:.0%}" for name in ("uneven", "dependent", "coloured"))
    return " | ".join([str(found["windows"]), *means, *map(plain, names), *shares])


def _verdict(summary: Summary) -> Iterator[str]:
    for optimizer in dict.fromkeys(arm["optimizer"] for arm in summary["arms"]):
        arms = [arm for arm in summary["arms"] if arm["optimizer"] == optimizer]
        n = sum(arm["windows"] for arm in arms)
        uneven, dependent, coloured, rejected = (
            sum(arm[name] * arm["windows"] for arm in arms) / n
            for name in ("uneven", "dependent", "coloured", "rejected")
        )
        signal = np.average([arm["signal"][0] for arm in arms if arm["signal"]])
        lag = np.average([arm["lag1"][0] for arm in arms if arm["lag1"]])
        fails = max(uneven, dependent, coloured) > 0.5
        holds = "does not hold" if fails else "holds in most windows"
        yield (
            f"{optimizer}: the hypothesis {holds}. Of {n} windows {uneven:.0%} are not uniform "
            f"(w above {UNEVEN:g}), {rejected:.0%} by chi-square at 1 %, {dependent:.0%} depend on "
            f"the step (correlation beyond {CORRELATED:g}), and {coloured:.0%} are not white "
            f"(flatness below {COLOURED:g}, or lag 1 beyond {CORRELATED:g}). Steps before "
            f"quantization have a correlation of {signal:.2f} at lag 1, and their errors one of "
            f"{lag:.2f}, in the mean over the arms."
        )
        yield ""


def plots(rows: Sequence[Row], summary: Summary) -> dict[str, str]:
    """Return histograms, and flatness over training."""
    return {"histogram.svg": _histograms(rows), "flatness.svg": _flatness(rows)}


def _histograms(rows: Sequence[Row]) -> str:
    from upshift.experiments.plots import drawing

    shares: dict[tuple[str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["part"] == "histogram":
            for name in ("share", "share_moved"):
                shares[f"{row['optimizer']}, {row['policy']}", name][row["number"]].append(
                    row[name]
                )
    arms = list(dict.fromkeys(arm for arm, _ in shares))
    middles = (np.arange(BINS) + 0.5) / BINS - 0.5
    with drawing(2, 3, height=4.4, sharex=True, sharey=True) as drawn:
        for axes, arm in zip(drawn.axes.ravel(), arms, strict=False):
            for name, label in (("share", "all steps"), ("share_moved", "steps that moved")):
                means = [BINS * float(np.mean(shares[arm, name][n])) for n in range(BINS)]
                axes.step(middles, means, where="mid", label=label)
            axes.axhline(1, color="black", linestyle=":", linewidth=0.8)
            axes.set_title(arm)
            axes.set_yscale("log")
        drawn.axes[0, 0].legend(loc="upper right")
        for axes in drawn.axes[-1]:
            axes.set_xlabel("error, grid steps")
        for axes in drawn.axes[:, 0]:
            axes.set_ylabel("density")
    return drawn.svg


def _flatness(rows: Sequence[Row]) -> str:
    from upshift.experiments.plots import drawing

    found: dict[tuple[str, str, str], dict[int, list[float]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for row in rows:
        if row["part"] == "window" and row["flatness"] is not None:
            which = row["optimizer"], row["policy"], row["layer"]
            found[which][row["number"]].append(row["flatness"])
    with drawing(2, 3, height=4.4, sharex=True, sharey=True) as drawn:
        panels = dict.fromkeys((optimizer, policy) for optimizer, policy, _ in found)
        for axes, (optimizer, policy) in zip(drawn.axes.ravel(), panels, strict=True):
            for (name, by, layer), course in found.items():
                if (name, by) == (optimizer, policy):
                    numbers = sorted(course)
                    axes.plot(numbers, [float(np.mean(course[n])) for n in numbers], label=layer)
            axes.axhline(1, color="black", linestyle=":", linewidth=0.8)
            axes.set_title(f"{optimizer}, {policy}")
        drawn.axes[0, 0].set_ylim(0, 1.1)
        drawn.axes[0, 0].legend(loc="lower left", ncols=2, fontsize=7)
        for axes in drawn.axes[-1]:
            axes.set_xlabel("window")
        for axes in drawn.axes[:, 0]:
            axes.set_ylabel("spectral flatness")
    return drawn.svg
