"""The report and the plots of `table1`."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from upshift.experiments.experiment import Summary
from upshift.experiments.published import GAINS
from upshift.experiments.statistics import LEVEL
from upshift.experiments.table import Row
from upshift.experiments.table1_summary import LARGEST, MARGIN, MOST, PLAIN, Arm

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ENDPOINTS = {
    "all": "all rates",
    "largest": "the {} largest rates",
    "tuned": "the rate chosen on validation images",
}


def report(summary: Summary) -> str:
    """Return the tables and the verdict."""
    runs = f"{summary['seeds']} seeds, {summary['epochs']} epochs of {summary['task']}"
    lines = [
        f"Test accuracy, %, mean ± deviation, {runs}; **bold** where it differs from that of the "
        f"plain optimizer (paired, Holm over all cells, {LEVEL:.0%}); in brackets how many "
        "diverged, which count as guessing:",
        "",
        *_grid(summary, _accuracy),
        "",
        "Median test loss of the same runs:",
        "",
        *_grid(summary, _loss),
        "",
        *_comparisons(summary),
        "",
        *_tuned(summary),
        "",
        *_verdict(summary),
    ]
    return "\n".join(lines) + "\n"


def arm_name(each: Summary) -> str:
    """Return what an arm is called."""
    optimizer, policy, weights = (str(each[name]) for name in ("optimizer", "policy", "weights"))
    return optimizer if policy == PLAIN else f"Qt{optimizer}, {policy}, {weights}"


def _titles(summary: Summary) -> dict[str, str]:
    """Return what the endpoints are called."""
    number = min(LARGEST, len(summary["rates"]))
    return {name: title.format(number) for name, title in ENDPOINTS.items()}


def _grid(summary: Summary, show: Callable[[Summary], str]) -> Iterator[str]:
    yield f"| | {' | '.join(f'2^-{rate}' for rate in summary['rates'])} |"
    yield f"|---|{'---:|' * len(summary['rates'])}"
    found: dict[str, list[str]] = defaultdict(list)
    for cell in summary["cells"]:
        found[arm_name(cell)].append(show(cell))
    for name, cells in found.items():
        yield f"| {name} | {' | '.join(cells)} |"


def _accuracy(cell: Summary) -> str:
    text = f"{cell['accuracy']['mean']:.1f} ± {cell['accuracy']['deviation']:.1f}"
    if cell["p"] is not None and cell["p"] < LEVEL:
        text = f"**{text}**"
    return text + (f" [{cell['diverged']}]" if cell["diverged"] else "")


def _loss(cell: Summary) -> str:
    return "diverged" if cell["loss"] is None else f"{cell['loss']:.3g}"


def interval(mean: Summary) -> str:
    """Return a mean, its deviation and its interval as text."""
    return (
        f"{mean['mean']:+.2f} ± {mean['deviation']:.2f} ({mean['low']:+.2f} to {mean['high']:+.2f})"
    )


def _comparisons(summary: Summary) -> Iterator[str]:
    yield (
        "Quantized minus plain, test accuracy in points: mean ± deviation over the seeds of the "
        "differences, with the 95 % interval of the mean. The first column is the primary "
        "endpoint, the mean over all rates:"
    )
    yield ""
    yield f"| | {' | '.join(_titles(summary).values())} | test loss, all rates |"
    yield "|---|---:|---:|---:|---:|"
    for each in summary["comparisons"]:
        cells = [interval(each[name]["mean"]) for name in (*ENDPOINTS, "loss")]
        yield f"| {arm_name(each)} | {' | '.join(cells)} |"
    yield ""
    yield (
        "What that shows, p in brackets; first that of Student's test of the difference, then "
        f"that of the two one-sided tests of equivalence within ±{MARGIN} points. Both are "
        "adjusted by Holm's method over the arms of a column:"
    )
    yield ""
    yield f"| | {' | '.join(_titles(summary).values())} | test loss, all rates |"
    yield "|---|---|---|---|---|"
    for each in summary["comparisons"]:
        cells = [f"{word(each[name])} ({p_values(each[name])})" for name in (*ENDPOINTS, "loss")]
        yield f"| {arm_name(each)} | {' | '.join(cells)} |"


def p_values(found: Summary) -> str:
    """Return p, and that of equivalence where there is one, as text."""
    return f"{found['p']:.2g}" + (f"; {found['p_equal']:.2g}" if "p_equal" in found else "")


def word(found: Summary) -> str:
    """Say what a difference and its tests show."""
    differs, equal = found["p"] < LEVEL, found.get("p_equal", 1) < LEVEL
    direction = "higher" if found["mean"]["mean"] > 0 else "lower"
    if differs and equal:
        return f"{direction}, but equivalent"
    if differs:
        return direction
    return "equivalent" if equal else "nothing shown"


def _tuned(summary: Summary) -> Iterator[str]:
    yield "At the rate that each seed chose on its own validation images:"
    yield ""
    yield "| | test accuracy, % | rates chosen | q at the end, all rates |"
    yield "|---|---:|---|---:|"
    for each in summary["arms"]:
        low, high = each["q"]
        accuracy = f"{each['tuned']['mean']:.2f} ± {each['tuned']['deviation']:.2f}"
        q = f"{low}" if low == high else f"{low} to {high}"
        yield f"| {arm_name(each)} | {accuracy} | {each['chosen']} | {q} |"


def _verdict(summary: Summary) -> Iterator[str]:
    for name, where in _titles(summary).items():
        words: dict[str, list[str]] = defaultdict(list)
        for each in summary["comparisons"]:
            words[word(each[name])].append(arm_name(each))
        total = len(summary["comparisons"])
        yield f"Over {where}, of {total} quantized arms against their plain ones:"
        yield ""
        for found, arms in words.items():
            said = {
                "higher": "are more accurate",
                "lower": "are less accurate",
                "equivalent": f"are equivalent within ±{MARGIN} points",
                "higher, but equivalent": f"are more accurate, by less than {MARGIN} points",
                "lower, but equivalent": f"are less accurate, by less than {MARGIN} points",
                "nothing shown": "show neither a difference nor equivalence",
            }[found]
            yield f"- {len(arms)} {said}: {'; '.join(arms)}."
        yield ""
    for optimizer, (mean, deviation) in GAINS.items():
        yield (
            f"The paper's table has {mean:+.2f} ± {deviation:.2f} for Qt{optimizer}, over nine "
            "rates and without repetition."
        )
    yield ""
    yield (
        f"Where test losses are averaged, those above {MOST:g} and those of runs that diverged "
        f"count as {MOST:g}."
    )


# -- plots ----------------------------------------------------------------------------------------


def plots(rows: Sequence[Row], summary: Summary) -> dict[str, str]:
    """Return accuracy against the rate, the differences, and the curves of the losses."""
    return {
        "accuracy.svg": _draw_accuracy(summary),
        "difference.svg": _draw_differences(summary),
        "loss.svg": _draw_losses(rows),
    }


def _draw_accuracy(summary: Summary) -> str:
    from upshift.experiments.plots import COLOURS, MARKS, drawing

    optimizers = list(dict.fromkeys(cell["optimizer"] for cell in summary["cells"]))
    with drawing(1, len(optimizers), height=3.4, sharey=True) as drawn:
        for axes, optimizer in zip(drawn.axes[0], optimizers, strict=True):
            lines: dict[Arm, list[Summary]] = defaultdict(list)
            for cell in summary["cells"]:
                if cell["optimizer"] == optimizer:
                    lines[optimizer, cell["policy"], cell["weights"]].append(cell)
            for number, cells in enumerate(lines.values()):
                axes.errorbar(
                    [cell["rate"] + 0.06 * (number - len(lines) / 2) for cell in cells],
                    [cell["accuracy"]["mean"] for cell in cells],
                    [cell["accuracy"]["deviation"] for cell in cells],
                    label=arm_name(cells[0]),
                    color=COLOURS[number % len(COLOURS)],
                    marker=MARKS[number % len(MARKS)],
                    markersize=3.5,
                    linewidth=0.9,
                    elinewidth=0.6,
                )
            axes.set(xlabel="k of the learning rate 2^-k")
            axes.legend(loc="lower left", fontsize=6.5)
        drawn.axes[0, 0].set(ylabel="test accuracy, %")
    return drawn.svg


def _draw_differences(summary: Summary) -> str:
    from upshift.experiments.plots import drawing

    compared = summary["comparisons"]
    titles = _titles(summary)
    with drawing(1, len(titles), height=0.9 + 0.22 * len(compared), sharey=True) as drawn:
        for axes, (endpoint, title) in zip(drawn.axes[0], titles.items(), strict=True):
            draw_means(axes, [each[endpoint]["mean"] for each in compared], title)
        name_means(drawn.axes[0, 0], [arm_name(each) for each in compared])
    return drawn.svg


def draw_means(axes: Axes, means: Sequence[Summary], title: str) -> None:
    """Draw mean differences with their intervals, one below the other, and the margin."""
    from upshift.experiments.plots import COLOURS, GREY

    axes.axvspan(-MARGIN, MARGIN, color=GREY, alpha=0.15, linewidth=0)
    axes.errorbar(
        [mean["mean"] for mean in means],
        range(len(means)),
        xerr=[mean["high"] - mean["mean"] for mean in means],
        fmt="o",
        markersize=3.5,
        color=COLOURS[0],
        linewidth=1,
    )
    # Linear within a point, so that both few points and many can be seen.
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xticks([-30, -5, -1, 0, 1, 5, 30], ["-30", "-5", "-1", "0", "1", "5", "30"])
    axes.set(xlabel="points, quantized minus the other")
    axes.set_title(title, fontsize=8)


def name_means(axes: Axes, names: Sequence[str]) -> None:
    """Write what the means are of, the first on top."""
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.invert_yaxis()


def _draw_losses(rows: Sequence[Row]) -> str:
    from upshift.experiments.plots import COLOURS, drawing

    tests = [row for row in rows if row["part"] == "test"]
    rates = sorted({row["rate"] for row in tests})
    shown = sorted({rates[0], rates[len(rates) // 2], rates[-1]})
    panels = [
        (optimizer, loss)
        for optimizer in dict.fromkeys(row["optimizer"] for row in tests)
        for loss in ("train_loss", "loss")
    ]
    policies = list(dict.fromkeys(row["policy"] for row in tests))
    arms = dict.fromkeys((row["policy"], row["weights"]) for row in tests)
    with drawing(len(panels), len(shown), height=1.7 * len(panels), sharex=True) as drawn:
        for line, (optimizer, loss) in zip(drawn.axes, panels, strict=True):
            for axes, rate in zip(line, shown, strict=True):
                for policy, weights in arms:
                    which = (optimizer, policy, weights, rate)
                    curve: dict[int, list[float]] = defaultdict(list)
                    for row in tests:
                        names = ("optimizer", "policy", "weights", "rate")
                        if tuple(row[name] for name in names) == which:
                            curve[row["epoch"]].append(row[loss])
                    middle = [float(np.median(values)) for values in curve.values()]
                    finite = [value if math.isfinite(value) else math.nan for value in middle]
                    axes.plot(
                        [*curve],
                        finite,
                        label=f"{policy}, {weights}",
                        color=COLOURS[policies.index(policy) % len(COLOURS)],
                        linestyle="-" if weights == "float32" else "--",
                        marker=".",
                        linewidth=0.9,
                    )
                axes.set_yscale("log")
                axes.set_title(f"{optimizer}, 2^-{rate}", fontsize=8)
            line[0].set(ylabel="training loss" if loss == "train_loss" else "test loss")
        for axes in drawn.axes[-1]:
            axes.set(xlabel="epoch")
        drawn.axes[0, 0].legend(loc="best", fontsize=7)
    return drawn.svg
