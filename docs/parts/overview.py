"""Whether rising resolution helps, in three small tables made of what the experiments found."""

from __future__ import annotations

import json
from collections import defaultdict

from parts.experiments import RESULTS, origin, summary
from upshift.experiments import statistics
from upshift.experiments.experiment import Summary
from upshift.experiments.table1_report import ENDPOINTS, arm_name, interval, word
from upshift.experiments.table1_summary import LARGEST


def time() -> str:
    """Return how long all experiments took, from what was kept."""
    seconds = {
        path.parent.name: json.loads(path.read_text())["seconds"]
        for path in sorted(RESULTS.glob("*/result.json"))
    }
    each = ", ".join(f"{name} {n / 60:.0f}" for name, n in seconds.items())
    hours = sum(seconds.values()) / 3600
    return f"Hours of one core: {hours:.1f} in all; minutes of each: {each}.\n"


def accuracy() -> str:
    """Return what quantization did to accuracy, for each quantized arm and endpoint."""
    found, full = summary("table1")
    titles = [title.format(min(LARGEST, len(found["rates"]))) for title in ENDPOINTS.values()]
    lines = [f"| | {' | '.join(titles)} |", f"|---|{'---|' * len(titles)}"]
    for each in found["comparisons"]:
        cells = [_effect(each[name]) for name in ENDPOINTS]
        lines.append(f"| {arm_name(each)} | {' | '.join(cells)} |")
    return "\n".join(lines) + f"\n\n{origin(full, 'table1', '')}\n"


def causes() -> str:
    """Return how the quantized step fares beside steps that have only a part of what it does."""
    found, full = summary("ablation")
    titles = [f"{kind['optimizer']}, {kind['schedule']}" for kind in found["kinds"]]
    lines = [f"| quantized minus | {' | '.join(titles)} |", f"|---|{'---|' * len(titles)}"]
    cells = defaultdict(list)
    for kind in found["kinds"]:
        for each in kind["comparisons"]:
            cells[each["arm"]].append(_effect(each["accuracy"]))
    lines += [f"| {arm} | {' | '.join(effects)} |" for arm, effects in cells.items()]
    return "\n".join(lines) + f"\n\n{origin(full, 'ablation', '')}\n"


def minima() -> str:
    """Return which methods find global minima more often than the equation, and less."""
    found, full = summary("global")
    names = "better than", "no difference shown to", "worse than"
    lines = [f"| | a gradient costs | {' | '.join(names)} |", f"|---|---|{'---|' * len(names)}"]
    others: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for each in found["comparisons"]:
        shown = each["p"] < statistics.LEVEL
        better, same, worse = names
        name = (better if each["difference"] > 0 else worse) if shown else same
        points = f"{each['other']} ({100 * each['difference']:+.0f})"
        others[each["method"], each["counting"]][name].append(points)
    for (method, counting), by_name in others.items():
        cells = " | ".join(", ".join(by_name[name]) for name in names)
        lines.append(f"| {method} | {counting} | {cells} |")
    return "\n".join(lines) + f"\n\n{origin(full, 'global', '')}\n"


def _effect(found: Summary) -> str:
    """Return a mean difference in points with its deviation and interval, and what that shows."""
    return f"{interval(found['mean'])}, {word(found)}"
