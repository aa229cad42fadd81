"""The table of the long run of line faults, from the JSON that `make faults` wrote."""

from __future__ import annotations

import json
from pathlib import Path

RESULT = Path(__file__).resolve().parents[1] / "results" / "faults.json"


def table(path: Path = RESULT) -> str:
    """Return what each scenario came to, and how often each kind of fault happened."""
    result = json.loads(path.read_text())
    lines = ["| scenario | runs | equal | clear error | wrong |", "|---|---:|---:|---:|---:|"]
    for name, verdicts in result["outcomes"].items():
        counts = [verdicts.get(verdict, 0) for verdict in ("equal", "error", "wrong")]
        cells = " | ".join(f"{count:,}" for count in (sum(counts), *counts))
        lines.append(f"| {name} | {cells} |")
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in result["faults"].items())
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    return (
        "\n".join(lines)
        + f"\n\n{result['faulted']:,} of {result['frames']:,} frames had a fault: {kinds}.\n"
        + f"{result['clocks']:,} clocks in {result['seconds']:,.0f} s, seed {result['seed']}.\n\n"
        + f"Run on {result['date']} by `make faults`: {versions}.\n"
    )
