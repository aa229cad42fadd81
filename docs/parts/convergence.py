"""The theorem's assumptions beside what the experiments measured, and what a step costs."""

from __future__ import annotations

import json
import math
from pathlib import Path

from parts.experiments import origin, summary
from upshift.resolution import Band

RESULTS = Path(__file__).resolve().parents[1] / "results"


def assumptions() -> str:
    """Return each assumption with the measurement that speaks for or against it."""
    whiteness, full = summary("whiteness")
    lines = ["| what is assumed of the error | SGD | Adam |", "|---|---|---|"]

    def shares(key: str) -> list[str]:
        found = {each["optimizer"]: each for each in whiteness["published"]}
        return [
            f"not in {found[name][key]:.0%} of {found[name]['windows']} windows"
            for name in ("SGD", "Adam")
        ]

    def mean(name: str, low: float, high: float) -> list[str]:
        found = []
        for optimizer in ("SGD", "Adam"):
            some = [
                each
                for each in whiteness["moved"]
                if (each["optimizer"], each["from"], each["to"]) == (optimizer, low, high)
            ]
            found.append(f"{some[0][name][0]:.2f}" if some and some[0][name] else "")
        return found

    rows = {
        "uniform over a grid step": shares("uneven"),
        "independent of the step": shares("dependent"),
        "white: no memory from step to step": shares("coloured"),
        "no correlation with the step, where most steps move": mean("step", 0.5, 1),
        "no correlation, where at most one in a hundred moves": mean("step", 0, 0.01),
        "variance 1/(12 Q_p^2), as a multiple, where most steps move": mean("variance", 0.5, 1),
        "variance, where at most one in a hundred moves": mean("variance", 0, 0.01),
    }
    lines += [f"| {what} | {' | '.join(found)} |" for what, found in rows.items()]
    return "\n".join(lines) + f"\n\n{origin(full, 'whiteness')}\n"


def waits() -> str:
    """Return from which epoch on the schedule's upper edge allows each resolution."""
    lines = ["| resolution q | allowed from epoch |", "|---:|---:|"]
    for q in range(math.ceil(Band().supremum(0)), 16):
        epoch = _first_epoch(q)
        shown = f"{epoch:,}" if epoch < 10**6 else f"10^{math.log10(epoch):.0f}"
        lines.append(f"| {q} | {shown} |")
    return "\n".join(lines) + "\n"


def _first_epoch(q: int) -> int:
    """Return the first epoch t with ceil(sup q(t)) >= q."""
    edge, low, high = Band().supremum, -1, 0
    while not edge(high) > q - 1:
        low, high = high, 2 * high + 1
    while high - low > 1:  # `bisect` takes no range that long
        middle = (low + high) // 2
        low, high = (low, middle) if edge(middle) > q - 1 else (middle, high)
    return high


def minima() -> str:
    """Return how often a point near the global minimum was seen."""
    found, full = summary("global")
    lines = ["| method | a gradient costs d + 1 | a gradient costs 1 |", "|---|---:|---:|"]
    methods: dict[str, dict[str, str]] = {}
    for each in found["methods"]:
        share, low, high = each["near"]
        cell = f"{share:.0%} ({low:.0%} to {high:.0%})"
        methods.setdefault(each["method"], {})[each["counting"]] = cell
    lines += [f"| {method} | {' | '.join(cells.values())} |" for method, cells in methods.items()]
    return "\n".join(lines) + f"\n\n{origin(full, 'global')}\n"


def costs() -> str:
    """Return time and memory of a step beside those of torch's Adam."""
    result = json.loads((RESULTS / "speed.json").read_text())
    shown = {
        ("Adam", "torch fused"): "torch.optim.Adam, fused",
        ("Adam", "QtAdam"): "QtAdam",
        ("Adam", "QtAdam, nonfinite leave"): 'QtAdam, `nonfinite="leave"`',
        ("SGD, momentum 0.9", "QtSGD"): "QtSGD, momentum",
        ("SGD", "QtSGD"): "QtSGD",
        ("SGD", "torch fused"): "torch.optim.SGD, fused",
    }
    rows = {
        (row["family"], row["what"]): row
        for row in result["rows"]
        if (row["elements"], row["tensors"]) == (10_000_000, 1)
    }
    lines = ["| 10 million parameters | ms a step | bytes a parameter |", "|---|---:|---:|"]
    for which, name in shown.items():
        row = rows[which]
        lines.append(f"| {name} | {1e3 * row['seconds']:.1f} | {row['extra_bytes']:.1f} |")
    machine = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    return "\n".join(lines) + f"\n\nRun by `upshift bench --optim`: {machine}.\n"
