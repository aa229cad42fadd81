"""What the points of the targets come to: worst, median and best clock, and a verdict."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from typing import Any

from upshift_boards.fabric.targets import Setting, Target

Point = dict[str, Any]


def of(setting: Setting, points: Iterable[Point]) -> list[Point]:
    """Return the points of a setting."""
    unit = json.loads(setting.config.to_json())
    return [
        point
        for point in points
        if (point["part"], point["configuration"]) == (setting.part.name, unit)
        and point["seed"] in setting.seeds
    ]


def judge(target: Target, points: Iterable[Point]) -> dict[str, Any]:
    """Return what was reached.

    Parameters
    ----------
    target : Target
    points : iterable of dict
        Any; those of the target's setting are taken.

    Returns
    -------
    dict
        ``verdict`` is "met", "missed", "reported" where nothing was asked for, or "incomplete".
        ``updates_per_second`` is at the worst clock.
    """
    part, config = target.setting.part, target.setting.config
    found = of(target.setting, points)
    judged: dict[str, Any] = {
        "part": part.name,
        "configuration": json.loads(config.to_json()),
        "wanted": {"clock": target.clock, "tables_per_lane": target.tables},
        "seeds": len(found),
        "verdict": "incomplete",
    }
    if not found:
        return judged
    worst = min(found, key=lambda point: point["clock"])
    clocks = [point["clock"] for point in found]
    logic = max(point["logic"] for point in found)
    judged |= {
        "clock": {"worst": min(clocks), "median": statistics.median(clocks), "best": max(clocks)},
        "worst_seed": worst["seed"],
        "worst_path": worst["path"],
        "logic": logic,
        "logic_available": worst["logic_available"],
        "tables_per_lane": round(_tables(worst["cells"]) / config.lanes, 1),
        "logic_per_lane": round(logic / config.lanes, 1),
        "cells": worst["cells"],
        "updates_per_second": round(config.lanes * min(clocks) * 1e6),
        "versions": worst["versions"],
        "dates": sorted({point["date"] for point in found}),
    }
    if len(found) == len(target.setting.seeds):
        judged["verdict"] = _verdict(target, judged)
    return judged


def _verdict(target: Target, judged: dict[str, Any]) -> str:
    if target.clock is None and target.tables is None:
        return "reported"
    met = (
        judged["clock"]["worst"] >= (target.clock or 0)
        and (target.tables is None or judged["tables_per_lane"] < target.tables)
        and judged["cells"]["DSP"] == 0
    )
    return "met" if met else "missed"


def _tables(cells: dict[str, int]) -> int:
    """Return the look-up tables of logic, of carry cells and of distributed RAM on the ECP5."""
    return cells["LUT"] + 2 * cells["carry"] + 4 * cells.get("distributed RAM", 0)


def line(judged: dict[str, Any]) -> str:
    """Return what was reached as a line for people."""
    unit, wanted = judged["configuration"], judged["wanted"]
    what = (
        f"{judged['part']:<11} {unit['lanes']:>2} lanes {unit['weight']:<6}"
        f"{unit.get('memory', 'resident'):<9}"
    )
    if "clock" not in judged:
        return f"{what} {judged['verdict']}"
    clock = judged["clock"]
    text = (
        f"{what} {clock['worst']:6.1f} {clock['median']:6.1f} {clock['best']:6.1f} MHz worst, "
        f"median, best of {judged['seeds']}; {judged['tables_per_lane']:g} tables, "
        f"{judged['logic_per_lane']:g} cells per lane: "
    )
    asked = [f">= {wanted['clock']:g} MHz"] if wanted["clock"] else []
    asked += [f"< {wanted['tables_per_lane']:g} tables"] if wanted["tables_per_lane"] else []
    text += judged["verdict"].upper() if judged["verdict"] == "missed" else judged["verdict"]
    if asked:
        text += f" ({', '.join(asked)})"
    return f"{text}; seed {judged['worst_seed']} is worst"
