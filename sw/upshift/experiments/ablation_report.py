"""The report and the plots of `ablation`."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence

from upshift.experiments.experiment import Summary
from upshift.experiments.statistics import LEVEL
from upshift.experiments.table import Row
from upshift.experiments.table1_report import draw_means, interval, name_means, p_values, word
from upshift.experiments.table1_summary import MARGIN, MOST


def report(summary: Summary) -> str:
    """Return the tables and the verdict."""
    tried = "; ".join(
        f"{optimizer} {', '.join(f'2^-{rate}' for rate in rates)}"
        for optimizer, rates in summary["trials"].items()
    )
    lines = [
        f"{summary['seeds']} seeds; each arm chose, for each seed, among the same learning rates: "
        f"{tried}.",
        "",
    ]
    for kind in summary["kinds"]:
        lines += [*_arms(kind), "", *_comparisons(kind), "", *_verdict(kind), ""]
    lines.append(
        "Every p is adjusted by Holm's method over the arms of its table; the second one is that "
        f"of the two one-sided tests of equivalence within ±{MARGIN} points. Where test losses "
        f"are averaged, those above {MOST:g} and those of runs that diverged count as {MOST:g}."
    )
    return "\n".join(lines) + "\n"


def _title(kind: Summary) -> str:
    return f"{kind['optimizer']}, q(t) of {kind['schedule']}"


def _arms(kind: Summary) -> Iterator[str]:
    recorded = kind["recorded"]
    low, high = recorded["last"]
    last = f"{low}" if low == high else f"{low} to {high}"
    yield (
        f"**{_title(kind)}**, recorded at 2^-{recorded['rate']}: {recorded['mean']:.1f} in the "
        f"mean and {last} at the end."
    )
    yield ""
    yield (
        "| arm | test accuracy, % | median | least | median test loss | rates chosen | zero steps "
        "| error of a step (rms) |"
    )
    yield "|---|---:|---:|---:|---:|---|---:|---:|"
    for each in kind["arms"]:
        accuracy = f"{each['accuracy']['mean']:.2f} ± {each['accuracy']['deviation']:.2f}"
        if each["diverged"]:
            accuracy += f" [{each['diverged']} diverged]"
        loss = "diverged" if each["loss"] is None else f"{each['loss']:.3g}"
        error = "" if each["error"] is None else f"{each['error']:.2g}"
        yield (
            f"| {each['arm']} | {accuracy} | {each['median']:.1f} | {each['least']:.1f} | {loss} "
            f"| {each['chosen']} | {each['zero']:.1%} | {error} |"
        )


def _comparisons(kind: Summary) -> Iterator[str]:
    yield "| quantized minus | accuracy, points | p | | test loss | p | |"
    yield "|---|---:|---:|---|---:|---:|---|"
    for each in kind["comparisons"]:
        cells = [each["arm"]]
        for found in (each["accuracy"], each["loss"]):
            cells += [interval(found["mean"]), p_values(found), word(found)]
        yield f"| {' | '.join(cells)} |"


def _verdict(kind: Summary) -> Iterator[str]:
    found: dict[str, list[str]] = defaultdict(list)
    for each in kind["comparisons"]:
        found[word(each["accuracy"])].append(each["arm"])
    said = {
        "higher": "more accurate than",
        "higher, but equivalent": f"more accurate, by less than {MARGIN} points, than",
        "lower": "less accurate than",
        "lower, but equivalent": f"less accurate, by less than {MARGIN} points, than",
        "equivalent": f"equivalent within ±{MARGIN} points to",
        "nothing shown": "not shown to differ from, nor to be equivalent to,",
    }
    parts = [f"{said[name]} {'; '.join(arms)}" for name, arms in found.items()]
    yield (
        f"{_title(kind)}: at the {LEVEL:.0%} level the quantized step is {', and '.join(parts)}."
    )


# -- plots ----------------------------------------------------------------------------------------


def plots(rows: Sequence[Row], summary: Summary) -> dict[str, str]:
    """Return the recorded q(t), and the differences."""
    from upshift.experiments.plots import COLOURS, drawing

    kinds = summary["kinds"]
    with drawing(1, len(kinds), width=2.2 + 1.9 * len(kinds), height=2.4, sharey=True) as drawn:
        for axes, kind in zip(drawn.axes[0], kinds, strict=True):
            for row in rows:
                mine = row["optimizer"], row["schedule"]
                if row["changes"] is None or row["images"] != "test":
                    continue
                if mine == (kind["optimizer"], kind["schedule"]):
                    changes = json.loads(row["changes"])
                    axes.step(
                        [number + 1 for number, _ in changes],
                        [q for _, q in changes],
                        where="post",
                        color=COLOURS[0],
                        alpha=0.4,
                        linewidth=0.8,
                    )
            axes.set(xscale="log", xlabel="tensors updated")
            axes.set_title(_title(kind), fontsize=7)
        drawn.axes[0, 0].set(ylabel="q")
    recorded = drawn.svg
    most = max(len(kind["comparisons"]) for kind in kinds)
    with drawing(
        1, len(kinds), width=2.2 + 1.9 * len(kinds), height=0.9 + 0.22 * most, sharey=True
    ) as drawn:
        for axes, kind in zip(drawn.axes[0], kinds, strict=True):
            means = [each["accuracy"]["mean"] for each in kind["comparisons"]]
            draw_means(axes, means, _title(kind))
        name_means(drawn.axes[0, 0], [each["arm"] for each in kinds[0]["comparisons"]])
    return {"recorded.svg": recorded, "difference.svg": drawn.svg}
