"""The report and the plots of `forensics`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from upshift.experiments import published
from upshift.experiments.experiment import Summary
from upshift.experiments.table import Row


def by_run(rows: Sequence[Row]) -> dict[tuple[str, int, int], list[Row]]:
    """Return the rows of each run, in the order of its mini-batches."""
    runs: dict[tuple[str, int, int], list[Row]] = {}
    for row in rows:
        runs.setdefault((row["arm"], row["rate"], row["seed"]), []).append(row)
    return runs


def report(summary: Summary) -> str:
    """Return the tables and the verdict."""
    lines = [
        f"| arm | learning rate | q at the end | q = {published.LIMIT} by mini-batch "
        "| raised by the last bias | weights that quantization moved | zero steps "
        "| test accuracy, % |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
        *map(_table_line, summary["arms"]),
        "",
        *_verdict(summary),
    ]
    return "\n".join(lines) + "\n"


def _table_line(arm: Summary) -> str:
    low, high = arm["q"]
    accuracy = arm["accuracy"]
    cells = [
        arm["arm"],
        f"2^-{arm['rate']}",
        f"{low}" if low == high else f"{low} to {high}",
        f"{arm['latest_arrival'] or ''}",
        f"{arm['bias_share']:.0%}" if arm["q"][1] < 64 else "",
        "" if arm["changed"] is None else f"{arm['changed']:.1%}",
        f"{arm['zero']:.1%}",
        f"{accuracy['mean']:.2f} ± {accuracy['deviation']:.2f}"
        + (f", {arm['diverged']} diverged" if arm["diverged"] else ""),
    ]
    return f"| {' | '.join(cells)} |"


def _verdict(summary: Summary) -> Iterator[str]:
    reached, runs = summary["reached"], summary["runs_each"]
    counts = ", ".join(f"{arm} {reached[arm]}" for arm in reached if arm not in ("SGD", "Adam"))
    yield f"Runs of {runs} in which q reached {published.LIMIT}: {counts}."
    yield ""
    measured = summary["raises_measured"]
    yield (
        "Raises by the last bias per mini-batch, while its step is fine and float32 has digits: "
        f"{measured['raises'] / max(1, measured['batches']):.2f} in {measured['batches']} "
        f"mini-batches of {reached['SGD, sum']} runs; {summary['raises_expected']:.2f} expected "
        "if its sum is zero but for rounding."
    )
    arms = [arm for arm in summary["arms"] if arm["arm"] == "SGD, sum"]
    arrivals = [arm["latest_arrival"] for arm in arms]
    if None not in arrivals and max(arrivals) < published.EPOCH:
        changed = max(arm["changed_at_limit"] for arm in arms)
        yield ""
        yield (
            f"So with softmax and the sum test every run is at q = {published.LIMIT} after "
            f"{max(arrivals)} mini-batches, and from there on it is plain SGD but for the last "
            f"digits of {changed:.1%} of the weights or fewer, in any of these steps that was "
            f"looked at. The published runs had {published.EPOCH} mini-batches in each of twenty "
            "epochs: their quantized SGD was plain SGD for nearly all of the time."
        )
    for name, found in summary["differences"].items():
        mean, tost = found["mean"], found["equivalence"]
        gain, deviation = published.GAINS[name]
        yield ""
        yield (
            f"Quantized by the sum test minus plain {name}, test accuracy in points, mean over the "
            f"learning rates: {mean['mean']:+.2f} ± {mean['deviation']:.2f} over "
            f"{mean['n']} seeds, 95 % interval {mean['low']:+.2f} to {mean['high']:+.2f}; "
            + (
                f"equivalent within {tost['margin']} points"
                if tost["equivalent"]
                else f"equivalence within {tost['margin']} points is not shown"
            )
            + f" (p = {tost['p']:.2g}). Two single runs of plain {name} that differ in their seed "
            f"differ by ± {summary['spread'][name]:.2f} at one rate. The paper reports "
            f"{gain:+.2f} ± {deviation:.2f}, single runs over nine rates."
        )


def plots(rows: Sequence[Row], summary: Summary) -> dict[str, str]:
    """Return q over the mini-batches, and what quantization still does."""
    from upshift.experiments.plots import COLOURS, drawing

    runs = by_run(rows)
    shown = ("SGD, sum", "SGD, all zero", "SGD, sum, logistic", "Adam, sum")
    with drawing(1, 2, height=3.2) as drawn:
        left, right = drawn.axes[0]
        for arm, colour in zip(shown, COLOURS, strict=False):
            mine = [run for (name, *_), run in runs.items() if name == arm]
            for number, run in enumerate(mine):
                steps = [row["step"] for row in run]
                label = None if number else arm
                left.step(
                    steps,
                    [row["q"] for row in run],
                    where="post",
                    color=colour,
                    alpha=0.5,
                    linewidth=0.9,
                    label=label,
                )
                if run[0]["changed"] is not None:
                    right.plot(
                        steps,
                        [100 * row["changed"] for row in run],
                        color=colour,
                        alpha=0.5,
                        linewidth=0.9,
                    )
        left.set(xlabel="mini-batch", ylabel="q", xscale="log")
        right.set(xlabel="mini-batch", ylabel="weights that quantization moved, %", xscale="log")
        left.legend(loc="upper left")
    return {"q.svg": drawn.svg}
