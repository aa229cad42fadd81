"""Tables of campaigns that were run: mutants, all pairs of words, random configurations."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results"


def _stamp(result: dict[str, Any], target: str) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    return f"Run on {result['date']} by `make {target}`: {versions}.\n"


def mutants(directory: Path = RESULTS / "mutation") -> str:
    """Return what became of the mutants of each unit, where they were, and who survived where."""
    results = {path.stem: json.loads(path.read_text()) for path in sorted(directory.glob("*.json"))}
    lines = [
        "| unit | mutants | killed | equivalent | survived | score |",
        "|---|---:|---:|---:|---:|---:|",
        *(_line(name, [result]) for name, result in results.items()),
        _line("all", [*results.values()]),
        "",
        *(f"- *{n}*: `{_configuration(r)}`, seed {r['seed']}" for n, r in results.items()),
        "",
        "Where they were, copies of a module together:",
        "",
        "| module | mutants | killed | equivalent | survived |",
        "|---|---:|---:|---:|---:|",
        *_modules(results.values()),
    ]
    return (
        "\n".join(lines)
        + "\n\n"
        + "\n".join(dict.fromkeys(_stamp(result, "mutation") for result in results.values()))
    )


def _configuration(result: dict[str, Any]) -> str:
    return json.dumps(result["config"], separators=(",", ":"))


def _line(name: str, results: list[dict[str, Any]]) -> str:
    counts = {key: sum(result[key] for result in results) for key in ("mutants", "killed")}
    counts |= {
        key: sum(len(result[key]) for result in results) for key in ("equivalent", "survived")
    }
    score = counts["killed"] / (counts["mutants"] - counts["equivalent"])
    return f"| {name} | {' | '.join(f'{n:,}' for n in counts.values())} | {score:.1%} |"


def _modules(results: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield a row for each kind of module and what is in it, whatever unit it is part of."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for result in results:
        for name, row in result["modules"].items():
            kind = re.sub(r"\d+(?=\.|$)|[sm]_axis_\w+_(?=crossing|end)", "", name)
            parts = kind.split(".")[: 2 if kind.startswith("upshift_axi") else 3]
            counts[".".join(parts)] += Counter(row)
    for name, row in sorted(counts.items()):
        cells = (row[key] for key in ("mutants", "killed", "equivalent", "survived"))
        yield f"| `{name}` | {' | '.join(map(str, cells))} |"


def sweep(path: Path = RESULTS / "sweep.json") -> str:
    """Return how many pairs of words were compared at each rate and resolution."""
    result = json.loads(path.read_text())
    lines = ["| rate k | resolution q | pairs | wrong |", "|---:|---:|---:|---:|"]
    lines += [
        f"| {row['rate']} | {row['resolution']} | {row['pairs']:,} | {row['mismatches']:,} |"
        for row in result["settings"]
    ]
    return "\n".join(lines) + "\n\n" + _stamp(result, "sweep")


def configurations(path: Path = RESULTS / "configurations.json") -> str:
    """Return how many random configurations were built and equal."""
    result = json.loads(path.read_text())
    drawn = "; ".join(
        f"{name} " + ", ".join(f"{value} ({count})" for value, count in counts.items())
        for name, counts in result["drawn"].items()
    )
    return (
        f"{result['equal']} of {result['configurations']} configurations equal, seed "
        f"{result['seed']}: {result['updates']:,} updates, {result['weights']:,} weights and "
        f"{result['reports']:,} reports compared.\nDrawn were: {drawn}.\n\n"
        + _stamp(result, "configs")
    )
