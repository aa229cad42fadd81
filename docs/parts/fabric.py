"""What units came to on FPGAs, from the points of `upshift campaign`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from upshift_boards.fabric import campaign, model, parts, results
from upshift_boards.fabric.targets import TARGETS, Target

POINTS = Path(__file__).resolve().parents[1] / "results" / "fabric" / "points.json"


def targets() -> str:
    """Return clock, area and updates per second of the units that have a target."""
    points = campaign.load(POINTS)
    lines = [
        "| part | lanes | weights | clock, MHz: worst, median, best | seeds | tables per lane "
        "| logic cells | per lane | registers | block RAM | DSP | updates/s | target |",
        "|---|---:|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    stamps = []
    for target in TARGETS:
        judged = results.judge(target, points)
        lines.append(_row(target, judged))
        if "versions" in judged:
            stamps.append(_stamp(judged))
    return "\n".join([*lines, "", *dict.fromkeys(stamps)]) + "\n"


def _row(target: Target, judged: dict[str, Any]) -> str:
    part, config = target.setting.part, target.setting.config
    what = f"| {part.title} | {config.lanes} | {config.weight}, {config.memory} |"
    if "clock" not in judged:
        return f"{what} not measured |" + " |" * 9
    clock, cells = judged["clock"], judged["cells"]
    return (
        f"{what} {clock['worst']:.1f}, {clock['median']:.1f}, {clock['best']:.1f} "
        f"| {judged['seeds']} | {_tables(judged)} "
        f"| {judged['logic']} of {judged['logic_available']} "
        f"| {judged['logic_per_lane']:.0f} | {cells['flip-flops']} | {cells['block RAM']} "
        f"| {cells['DSP']} | {judged['updates_per_second']:.3g} | {_verdict(judged)} |"
    )


def _tables(judged: dict[str, Any]) -> str:
    """Return the look-up tables, where carry cells have tables of their own."""
    return f"{judged['tables_per_lane']:.0f}" if judged["part"].startswith("ecp5") else ""


def _verdict(judged: dict[str, Any]) -> str:
    wanted = judged["wanted"]
    asked = [f"≥ {wanted['clock']:g} MHz"] if wanted["clock"] else []
    asked += [f"< {wanted['tables_per_lane']:g} tables"] if wanted["tables_per_lane"] else []
    if not asked:
        return "none"
    return f"{', '.join(asked)}: {judged['verdict']}"


def _stamp(judged: dict[str, Any]) -> str:
    part = parts.find(judged["part"])
    versions = ", ".join(f"{name} {version}" for name, version in judged["versions"].items())
    dates = " to ".join(dict.fromkeys((judged["dates"][0], judged["dates"][-1])))
    return f"- {part.title}, package {part.package}, grade {part.grade}, {dates}: {versions}."


def paths() -> str:
    """Return the slowest path of the worst seed of each target."""
    points = campaign.load(POINTS)
    lines = [
        "| part | lanes | weights | from | to | logic, ns | routing, ns |",
        "|---|---:|---|---|---|---:|---:|",
    ]
    for target in TARGETS:
        judged = results.judge(target, points)
        if "worst_path" in judged:
            config, path = target.setting.config, judged["worst_path"]
            lines.append(
                f"| {target.setting.part.name} | {config.lanes} | {config.weight}, "
                f"{config.memory} | `{path['from']}` | `{path['to']}` "
                f"| {path['logic']:.1f} | {path['routing']:.1f} |"
            )
    return "\n".join(lines) + "\n"


def errors() -> str:
    """Return how wrong the model is about units that it has not seen."""
    fitted = model.load()
    lines = ["| estimate | median error | largest |", "|---|---:|---:|"]
    lines += [
        f"| {what} | {error['median']:.1%} | {error['largest']:.1%} |"
        for what, error in fitted["errors"].items()
    ]
    return (
        "\n".join(lines)
        + f"\n\nFrom {fitted['points']} measured units on parts, of {fitted['configurations']} "
        + "configurations; each was estimated by a model fitted without its configuration, on any "
        + "part.\n"
    )


def part_names() -> str:
    """Return the parts that there are."""
    lines = ["| name | part | package | logic cells | block RAM |", "|---|---|---|---:|---:|"]
    lines += [
        f"| `{part.name}` | {part.title} | {part.package} | {part.logic} | {part.block_ram} |"
        for part in parts.PARTS
    ]
    return "\n".join(lines) + "\n"


def pipelines() -> str:
    """Return how clock and area depend on the depth of the pipeline, at four lanes."""
    rows = []
    for point in campaign.load(POINTS):
        unit = {"pipeline": 5} | point["configuration"]
        standard = {"lanes": 4, "weight": "16.12", "gradient": "16.12", "depth": 4096}
        other = unit.keys() & {"memory", "updates"}
        if standard.items() <= unit.items() and not other and point["seed"] == 1:
            rows.append((point["part"], unit["pipeline"], point))
    lines = [
        "| part | pipeline | MHz | logic cells | registers |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {part} | {depth} | {point['clock']:.0f} | {point['logic']} "
        f"| {point['cells']['flip-flops']} |"
        for part, depth, point in sorted(rows, key=lambda row: row[:2])
    ]
    return "\n".join(lines) + "\n"
