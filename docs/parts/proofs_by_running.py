"""Tables of what runs to its end: mutants, all pairs of words, random configurations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results"


def _stamp(result: dict[str, Any], target: str) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    return f"Run on {result['date']} by `make {target}`: {versions}.\n"


def mutants(directory: Path = RESULTS / "mutation") -> str:
    """Return what became of the mutants of each unit, and those that nobody noticed."""
    lines = [
        "| unit | mutants | killed | equivalent | survived | score |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    survivors, total, killed, equivalent = [], 0, 0, 0
    for path in sorted(directory.glob("*.json")):
        result = json.loads(path.read_text())
        same, left = len(result["equivalent"]), result["survived"]
        counts = result["mutants"], result["killed"], same, len(left)
        cells = " | ".join(f"{count:,}" for count in counts)
        lines.append(f"| {path.stem} | {cells} | {result['score']:.1%} |")
        survivors += [f"- {path.stem}: `{arguments}`" for arguments in left]
        total, killed = total + result["mutants"], killed + result["killed"]
        equivalent += same
    score = killed / (total - equivalent)
    cells = f"{total:,} | {killed:,} | {equivalent:,} | {len(survivors):,}"
    lines.append(f"| all | {cells} | {score:.1%} |")
    listed = "\n".join(["Survivors, as Yosys' `mutate` makes them:", "", *survivors])
    return "\n".join(lines) + f"\n\n{listed}\n\n" + _stamp(result, "mutation")


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
