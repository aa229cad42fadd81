"""What the search for global minima came to, in words, tables and plots."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from upshift.experiments import statistics
from upshift.experiments.experiment import Summary
from upshift.experiments.functions import COUNTINGS, NEAR, SOLVED
from upshift.experiments.methods import METHODS, QUANTIZED
from upshift.experiments.table import Row


def report(summary: Summary) -> str:
    """Return the tables and the verdict."""
    dimensions = [*summary["methods"][0]["near_by_dimension"]]
    lines = [
        *_verdict(summary),
        "",
        f"Instances in which a point within {NEAR:g} of the minimum was seen, %, with 95 % "
        "intervals:",
        "",
        "| a gradient costs | method | "
        + " | ".join(f"d = {d}" for d in dimensions)
        + f" | all | within {SOLVED:g} |",
        f"|---|---|{'---:|' * (len(dimensions) + 2)}",
    ]
    for each in summary["methods"]:
        cells = [
            *(_share(found) for found in each["near_by_dimension"].values()),
            _share(each["near"]),
            _share(each["solved"]),
        ]
        lines.append(f"| {each['counting']} | {each['method']} | {' | '.join(cells)} |")
    lines += ["", *_by_problem(summary), "", *_comparisons(summary), "", *_objectives(summary)]
    return "\n".join(lines) + "\n"


def _verdict(summary: Summary) -> Iterator[str]:
    """Yield what the tables below come to, for either way of counting."""
    for counting in COUNTINGS:
        for method in QUANTIZED:
            shares = {
                each["method"]: each["near"][0]
                for each in summary["methods"]
                if each["counting"] == counting
            }
            found: dict[str, list[str]] = defaultdict(list)
            for each in summary["comparisons"]:
                if (each["counting"], each["method"]) == (counting, method):
                    found[_word(each)].append(each["other"])
            said = {
                "better": "more often than",
                "worse": "less often than",
                "no difference shown": "with no difference shown to",
            }
            parts = [f"{said[word]} {', '.join(found[word])}" for word in said if found[word]]
            yield (
                f"- Where a gradient costs {counting}, `{method}` came near the minimum in "
                f"{shares[method]:.0%} of the instances: {'; '.join(parts)}."
            )


def _word(comparison: Summary) -> str:
    if comparison["p"] >= statistics.LEVEL:
        return "no difference shown"
    return "better" if comparison["difference"] > 0 else "worse"


def _share(found: list[float]) -> str:
    share, low, high = (100 * number for number in found)
    return f"{share:.0f} ({low:.0f} to {high:.0f})"


def _by_problem(summary: Summary) -> Iterator[str]:
    yield f"The same by problem, where a gradient costs {COUNTINGS[0]}:"
    yield ""
    yield f"| function | d | {' | '.join(METHODS)} |"
    yield f"|---|---:|{'---:|' * len(METHODS)}"
    table: dict[tuple[str, int], dict[str, float]] = defaultdict(dict)
    for each in summary["problems"]:
        if each["counting"] == COUNTINGS[0]:
            table[each["function"], each["dimension"]][each["method"]] = each["near"][0]
    for (function, d), shares in table.items():
        cells = " | ".join(f"{100 * shares[method]:.0f}" for method in METHODS)
        yield f"| {function} | {d} | {cells} |"


def _comparisons(summary: Summary) -> Iterator[str]:
    yield "The quantized equation against the others on the same instances (McNemar, Holm):"
    yield ""
    yield "| a gradient costs | method | against | difference, points | p | |"
    yield "|---|---|---|---:|---:|---|"
    for each in summary["comparisons"]:
        yield (
            f"| {each['counting']} | {each['method']} | {each['other']} "
            f"| {100 * each['difference']:+.1f} | {each['p']:.2g} | {_word(each)} |"
        )


def _objectives(summary: Summary) -> Iterator[str]:
    found: dict[tuple[str, int], dict[int, Any]] = defaultdict(dict)
    for each in summary["objective"]:
        found[each["function"], each["rate"]][each["q"]] = each
    resolutions = sorted({q for row in found.values() for q in row})
    yield "Runs at constant q that end at an optimum of the quantized objective, %, d = 2:"
    yield ""
    yield f"| function | learning rate | {' | '.join(f'q = {q}' for q in resolutions)} |"
    yield f"|---|---|{'---:|' * len(resolutions)}"
    for (function, rate), row in found.items():
        cells = " | ".join(f"{100 * row[q]['reached'][0]:.0f}" for q in resolutions)
        yield f"| {function} | 2^-{rate} | {cells} |"
    yield ""
    finest = resolutions[-1]
    best: dict[str, tuple[float, int]] = {}
    for (function, rate), row in found.items():
        best[function] = max(best.get(function, (-1.0, 0)), (row[finest]["reached"][0], rate))
    told = [f"{name} {share:.0%} (2^-{rate})" for name, (share, rate) in best.items()]
    yield (
        f"At the finest grid, q = {finest}, runs that end at an optimum are, each function at its "
        f"best learning rate: {', '.join(told)}."
    )


def plots(rows: Sequence[Row], summary: Summary) -> dict[str, str]:
    """Return performance profiles."""
    from upshift.experiments.plots import drawing

    with drawing(1, 2, height=3.4, sharey=True) as drawn:
        for axes, counting in zip(drawn.axes[0], COUNTINGS, strict=True):
            for number, method in enumerate(METHODS):
                ratios, shares = profile(rows, counting)[method]
                axes.step(
                    ratios,
                    shares,
                    where="post",
                    label=method,
                    linestyle="-" if method in QUANTIZED else ("--", ":", "-.")[number % 3],
                )
            axes.set(
                xscale="log",
                ylim=(0, 1),
                title=f"a gradient costs {counting}",
                xlabel="evaluations, times those of the fastest",
            )
        drawn.axes[0, 0].set_ylabel(f"share of the instances within {NEAR:g}")
        drawn.axes[0, 0].legend(loc="upper left", fontsize=7)
    return {"profile.svg": drawn.svg}


def profile(rows: Sequence[Row], counting: str) -> dict[str, tuple[list[float], list[float]]]:
    """Return performance profiles (Dolan and More): shares reached, by the ratio to the fastest.

    Instances are those of the test; one that no method gets near counts against all.
    """
    times: dict[tuple[Any, ...], dict[str, int]] = defaultdict(dict)
    for row in rows:
        if row["part"] == "test" and row["counting"] == counting:
            instance = times[row["function"], row["dimension"], row["seed"]]
            if row["near"] is not None:
                instance[row["method"]] = row["near"]
    found = {}
    for method in METHODS:
        ratios = sorted(
            each[method] / min(each.values()) for each in times.values() if method in each
        )
        shares = [(number + 1) / len(times) for number in range(len(ratios))]
        found[method] = ([1.0, *ratios], [0.0, *shares])
    return found
