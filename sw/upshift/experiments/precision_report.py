"""The report and the plots of `precision`, and from when on it says that training stalls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

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
    lines = [*_choices(summary), "", *_verdict(summary), ""]
    shown = dict.fromkeys((each["policy"], each["integer"]) for each in summary["formats"])
    for policy, integer in sorted(shown, key=lambda which: (which[0] == BAND, which[1])):
        lines += [*_accuracies(summary, policy, integer), ""]
    return "\n".join(lines)


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
    yield (
        "| bits before the point | runs | stalled | foretold rightly | by saying that none stalls "
        "| stalls that were foretold | alarms that were right |"
    )
    yield f"|{'---:|' * 7}"
    for each in summary["foretold"]:
        runs, stalled = each["runs"], each["stalled"]
        found = stalled - each["missed"]
        yield (
            f"| {each['integer']} | {runs} | {stalled} | {_share(each['right'], runs)} "
            f"| {_share(runs - stalled, runs)} | {_share(found, stalled)} "
            f"| {_share(found, found + each['false'])} |"
        )


def _share(some: int, of: int) -> str:
    """Return a share with its 95 % interval; nothing of none."""
    if not of:
        return ""
    share, low, high = (100 * number for number in statistics.share(some, of))
    return f"{share:.0f} % ({low:.0f} to {high:.0f})"


def plots(rows: Sequence[Row], summary: Summary) -> dict[str, str]:
    """Return accuracy over the width, with the format that q_min asks for."""
    from upshift.experiments.plots import drawing

    names = list(dict.fromkeys(run["optimizer"] for run in summary["floats"]))
    integers = sorted({each["integer"] for each in summary["formats"]})
    size = len(integers), len(names)
    with drawing(*size, height=2.7 * len(integers) + 0.4, sharex=True, sharey=True) as drawn:
        for line, integer in zip(drawn.axes, integers, strict=True):
            for axes, name in zip(line, names, strict=True):
                _draw(axes, summary, name, integer)
            bits = f"{integer} bit{'s' * (integer > 1)} before the point"
            line[0].set_ylabel(f"test accuracy, %\n{bits}")
        for axes, name in zip(drawn.axes[0], names, strict=True):
            axes.set_title(name)
            axes.legend(loc="lower right", title="learning rate")
        for axes in drawn.axes[-1]:
            axes.set_xlabel("width")
    return {"chart.svg": drawn.svg}


def _draw(axes: Any, summary: Summary, name: str, integer: int) -> None:
    from upshift.experiments.plots import COLOURS, MARKS

    runs = [run for run in summary["floats"] if run["optimizer"] == name]
    for run, colour, mark in zip(runs, COLOURS, MARKS, strict=False):
        wanted = name, run["rate"], OWN, integer
        chosen = [
            each
            for each in summary["formats"]
            if (each["optimizer"], each["rate"], each["policy"], each["integer"]) == wanted
        ]
        axes.errorbar(
            [each["width"] for each in chosen],
            [each["accuracy"]["mean"] for each in chosen],
            [each["accuracy"]["deviation"] for each in chosen],
            color=colour,
            marker=mark,
            markersize=4,
            linewidth=1.2,
            capsize=2,
            label=f"2^-{run['rate']}",
        )
        axes.axhline(run["accuracy"]["mean"], color=colour, linestyle=":", linewidth=1)
        axes.plot([run["needed"] + integer], [3], marker=mark, color=colour, linestyle="")
    axes.set_ylim(0, 100)
