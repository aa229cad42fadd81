"""The report and the plots of `whiteness`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from upshift.experiments.errors import BINS, COLOURED, CORRELATED, UNEVEN
from upshift.experiments.experiment import Summary
from upshift.experiments.table import Row

CONTROL = "Constant(16)"
"""The policy whose grid is so fine that the hypothesis has its best case."""


def report(summary: Summary) -> str:
    """Return the verdict and the tables."""
    heading = (
        "windows | steps that moved | gradients of zero | w, all steps | w, moved | variance "
        "| variance, moved | with the step | flatness | flatness, moved | lag 1 | lag 1, moved "
        "| steps themselves, lag 1 | uneven | dependent | coloured |"
    )
    rule = "---:|" * 16
    lines = [*_verdict(summary), "By arm:", ""]
    lines += [f"| optimizer | learning rate | policy | {heading}", f"|---|---|---|{rule}"]
    lines += [
        f"| {arm['optimizer']} | 2^-{arm['rate']} | {arm['policy']} | {_cells(arm)} |"
        for arm in summary["arms"]
    ]
    lines += ["", "By parameter tensor, all learning rates, both policies of `Band`:", ""]
    lines += [f"| optimizer | tensor | {heading}", f"|---|---|{rule}"]
    lines += [
        f"| {each['optimizer']} | `{each['layer']}` | {_cells(each)} |"
        for each in summary["layers"]
    ]
    lines += ["", "By the share of steps that moved a weight, all arms and tensors:", ""]
    lines += [f"| optimizer | share | {heading}", f"|---|---|{rule}"]
    lines += [
        f"| {each['optimizer']} | {each['from']:.0%} to {each['to']:.0%} | {_cells(each)} |"
        for each in summary["moved"]
    ]
    return "\n".join(lines) + "\n"


def _cells(found: Summary) -> str:
    def plain(name: str) -> str:
        return "" if found[name] is None else f"{found[name][0]:.2f} ± {found[name][1]:.2f}"

    names = (
        "effect", "effect_moved", "variance", "variance_moved", "step",
        "flatness", "flatness_moved", "lag1", "lag1_moved", "signal",
    )  # fmt: skip
    means = (f"{found[name][0]:.0%}" if found[name] else "" for name in ("moved", "silent"))
    shares = (f"{found[name]:.0%}" for name in ("uneven", "dependent", "coloured"))
    return " | ".join([str(found["windows"]), *means, *map(plain, names), *shares])


def _verdict(summary: Summary) -> Iterator[str]:
    for found in summary["published"]:
        fails = max(found["uneven"], found["dependent"], found["coloured"]) > 0.5
        holds = "does not hold" if fails else "holds in most windows"
        yield (
            f"{found['optimizer']}: the hypothesis {holds}. Of {found['windows']} windows under "
            f"`Band` {found['uneven']:.0%} are not uniform (w above {UNEVEN:g}), "
            f"{found['rejected']:.0%} by chi-square at 1 %, {found['dependent']:.0%} depend on "
            f"the step (correlation beyond {CORRELATED:g}), and {found['coloured']:.0%} are not "
            f"white (flatness below {COLOURED:g}, or lag 1 beyond {CORRELATED:g}). Steps before "
            f"quantization have a correlation of {found['signal'][0]:.2f} at lag 1, and their "
            f"errors one of {found['lag1'][0]:.2f}."
        )
        for control in summary["control"]:
            if control["optimizer"] == found["optimizer"]:
                yield (
                    f"On the finest grid, where q is 16 throughout, these are "
                    f"{control['uneven']:.0%}, {control['rejected']:.0%}, "
                    f"{control['dependent']:.0%} and {control['coloured']:.0%}."
                )
        yield ""


def plots(rows: Sequence[Row], summary: Summary) -> dict[str, str]:
    """Return histograms, by arm and by tensor, and flatness over training."""
    published = [row for row in rows if row["policy"] != CONTROL]
    return {
        "histogram.svg": _histograms(rows, ("optimizer", "policy"), 3),
        "layers.svg": _histograms(published, ("optimizer", "layer"), 4),
        "flatness.svg": _flatness(rows),
    }


def _histograms(rows: Sequence[Row], names: tuple[str, str], columns: int) -> str:
    from upshift.experiments.plots import drawing

    shares: dict[tuple[str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["part"] == "histogram":
            panel = ", ".join(row[name] for name in names)
            for part in ("share", "share_moved"):
                shares[panel, part][row["number"]].append(row[part])
    panels = list(dict.fromkeys(panel for panel, _ in shares))
    middles = (np.arange(BINS) + 0.5) / BINS - 0.5
    lines = -(-len(panels) // columns)
    with drawing(lines, columns, height=2.2 * lines, sharex=True, sharey=True) as drawn:
        for axes, panel in zip(drawn.axes.ravel(), panels, strict=False):
            for part, label in (("share", "all steps"), ("share_moved", "steps that moved")):
                means = [BINS * float(np.mean(shares[panel, part][n])) for n in range(BINS)]
                axes.step(middles, means, where="mid", label=label)
            axes.axhline(1, color="black", linestyle=":", linewidth=0.8)
            axes.set_title(panel)
            axes.set_yscale("log")
        drawn.axes[0, 0].legend(loc="upper right", fontsize=7)
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
