"""The tables of optimizer steps, from the JSON that `upshift bench --optim --json` wrote."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

RESULT = Path(__file__).resolve().parents[1] / "results" / "speed.json"

TARGETS = {
    ("SGD", "QtSGD"): 0.8,
    ("SGD", "QtSGD, no compiler"): 0.35,
    ("Adam", "QtAdam"): 0.9,
    ("Adam", "QtAdam, nonfinite leave"): 0.9,
    ("Adam", "QtAdam, no compiler"): 0.35,
}
"""Ratios that steps of 10 million parameters in one tensor should reach."""


def tables(path: Path = RESULT) -> str:
    """Return a table for each family of optimizers, and what could not be measured."""
    result = json.loads(path.read_text())
    parts = []
    for family, rows in itertools.groupby(
        sorted(result["rows"], key=lambda row: row["family"]), key=lambda row: row["family"]
    ):
        parts += [f"**{family}**", "", _table(list(rows)), ""]
    if result["missing"]:
        parts += [f"- not measured: {what}: {error}" for what, error in result["missing"].items()]
        parts.append("")
    machine = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    parts.append(f"Run by `upshift bench --optim`: {machine}.")
    return "\n".join(parts) + "\n"


def targets(path: Path = RESULT) -> str:
    """Return the ratios at 10 million parameters in one tensor beside their targets."""
    rows = json.loads(path.read_text())["rows"]
    lines = ["| steps of 10 million parameters | ratio | target | |", "|---|---:|---:|---|"]
    for row in rows:
        target = TARGETS.get((row["family"], row["what"]))
        if target is None or (row["elements"], row["tensors"]) != (10_000_000, 1):
            continue
        verdict = "met" if row["ratio"] >= target else "**missed**"
        what = f"{row['what']}, to fused {row['family']}"
        lines.append(f"| {what} | {row['ratio']:.3f} | {target} | {verdict} |")
    return "\n".join(lines) + "\n"


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| parameters | tensors | optimizer | ms | ratio | worst | bytes |",
        "|---:|---:|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        extra = "" if row["extra_bytes"] is None else f"{row['extra_bytes']:.1f}"
        lines.append(
            f"| {row['elements']:,} | {row['tensors']:,} | {row['what']} | "
            f"{1e3 * row['seconds']:.2f} | "
            f"{row['ratio']:.2f} | {row['worst_ratio']:.2f} | {extra} |"
        )
    return "\n".join(lines)
