"""The report and the plots of `precision`, and from when on it says that training stalls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from upshift.experiments import statistics
from upshift.experiments.experiment import Summary
from upshift.experiments.table import Row

STALLED = 5.0
"""Points of accuracy that a stalled run lacks, at least, of the same run on floats."""
TOLERATED = 1.0
"""Points that a format may lose on average, to be good enough."""
FLOAT, OWN, BAND = "float32", "Band(limit=F)", "Band()"


def report(summary: Summary) -> str:
    """Return the tables and the verdict."""
    policies = {each["policy"] for each in summary["formats"]}
    first = min(each["integer"] for each in summary["formats"] if each["policy"] == BAND)
    lines = []
    for policy in (OWN, BAND):
        if policy in policies:
            lines += [*_accuracies(summary, policy, first), ""]
    lines += [*_choices(summary), "", *_verdict(summary)]
    return "\n".join(lines) + "\n"


def _accuracies(summary: Summary, policy: str, integer: int) -> Iterator[str]:
    chosen = [
        each
        for each in summary["formats"]
        if (each["policy"], each["integer"]) == (policy, integer)
    ]
    widths = sorted({each["width"] for each in chosen})
    yield (
        f"Test accuracy, %, with `{policy}` and {integer} bits before the point; **bold** where "
        f"the mean is at least {STALLED:g} points below that of floats:"
    )
    yield ""
    yield (
        "| optimizer | learning rate | median q_min | floats | "
        + " | ".join(f"{width}.{width - integer}" for width in widths)
        + " |"
    )
    yield f"|---|---|---:|---:|{'---:|' * len(widths)}"
    for run in summary["floats"]:
        names = run["optimizer"], run["rate"]
        row = {each["width"]: each for each in chosen if (each["optimizer"], each["rate"]) == names}
        cells = []
        for width in widths:
            found, bold = row[width], "**" * (row[width]["lost"]["mean"] >= STALLED)
            cells.append(f"{bold}{_mean(found['accuracy'])}{bold}")
        yield (
            f"| {names[0]} | 2^-{names[1]} | {run['needed']:g} | {_mean(run['accuracy'])} "
            f"| {' | '.join(cells)} |"
        )


def _mean(found: dict[str, float]) -> str:
    return f"{found['mean']:.1f} ± {found['deviation']:.1f}"


def _choices(summary: Summary) -> Iterator[str]:
    integers = sorted({each["integer"] for each in summary["smallest"]})
    yield (
        f"The smallest width from which on a format loses less than {TOLERATED:g} point against "
        f"floats, at 95 % confidence, with `{OWN}`, by the bits before the point:"
    )
    yield ""
    yield f"| optimizer | learning rate | {' | '.join(map(str, integers))} |"
    yield f"|---|---|{'---:|' * len(integers)}"
    found = {
        (each["optimizer"], each["rate"], each["integer"]): each["width"]
        for each in summary["smallest"]
        if each["policy"] == OWN
    }
    for run in summary["floats"]:
        names = run["optimizer"], run["rate"]
        widths = [found[(*names, integer)] for integer in integers]
        yield f"| {names[0]} | 2^-{names[1]} | {' | '.join(str(w or 'none') for w in widths)} |"


def _verdict(summary: Summary) -> Iterator[str]:
    yield (
        f"Does q_min explain it? A run is said to stall if it is more than {STALLED:g} points "
        "below the same run on floats. It is foretold to if F is less than the q_min of half the "
        "bursts of that run on floats:"
    )
    yield ""
    yield "| bits before the point | runs | stalled | foretold rightly | missed | false alarms |"
    yield "|---:|---:|---:|---:|---:|---:|"
    for each in summary["foretold"]:
        share, low, high = (
            100 * number for number in statistics.share(each["right"], each["runs"])
        )
        yield (
            f"| {each['integer']} | {each['runs']} | {each['stalled']} "
            f"| {share:.0f} % ({low:.0f} to {high:.0f}) | {each['missed']} | {each['false']} |"
        )


def plots(rows: Sequence[Row], summary: Summary) -> dict[str, str]:
    """Return accuracy over the width, with the format that q_min asks for."""
    from upshift.experiments.plots import COLOURS, MARKS, drawing

    names = list(dict.fromkeys(run["optimizer"] for run in summary["floats"]))
    first = min(each["integer"] for each in summary["formats"] if each["policy"] == BAND)
    with drawing(1, len(names), height=3.6, sharey=True) as drawn:
        for axes, name in zip(drawn.axes[0], names, strict=True):
            runs = [run for run in summary["floats"] if run["optimizer"] == name]
            for run, colour, mark in zip(runs, COLOURS, MARKS, strict=False):
                chosen = [
                    each
                    for each in summary["formats"]
                    if (each["optimizer"], each["rate"]) == (name, run["rate"])
                    and (each["policy"], each["integer"]) == (OWN, first)
                ]
                means = [each["accuracy"]["mean"] for each in chosen]
                spread = [each["accuracy"]["deviation"] for each in chosen]
                axes.errorbar(
                    [each["width"] for each in chosen],
                    means,
                    spread,
                    color=colour,
                    marker=mark,
                    markersize=4,
                    linewidth=1.2,
                    capsize=2,
                    label=f"2^-{run['rate']}",
                )
                axes.axhline(run["accuracy"]["mean"], color=colour, linestyle=":", linewidth=1)
                axes.plot([run["needed"] + first], [3], marker=mark, color=colour, linestyle="")
            axes.set(xlabel=f"width, {first} bits before the point", title=name, ylim=(0, 100))
            axes.legend(loc="lower right", title="learning rate")
        drawn.axes[0, 0].set_ylabel("test accuracy, %")
    return {"chart.svg": drawn.svg}
