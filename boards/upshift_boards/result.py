"""What a build came to: clock, area, identity and versions, read from what the tools wrote."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

from upshift_boards.board import Board, Family
from upshift_boards.tools import BuildError

_CELLS: dict[Family, dict[str, tuple[str, ...]]] = {
    "ecp5": {"LUT": ("LUT4",), "carry": ("CCU2C",), "flip-flops": ("TRELLIS_FF",)},
    "ice40": {"LUT": ("SB_LUT4",), "carry": ("SB_CARRY",), "flip-flops": ("SB_DFF",)},
    "gowin": {"LUT": ("LUT",), "carry": ("ALU",), "flip-flops": ("DFF",)},
}
"""Beginnings of the names of the cells that are counted after synthesis."""

_RESOURCES: dict[Family, dict[str, str]] = {
    "ecp5": {"logic": "TRELLIS_COMB", "block RAM": "DP16KD", "DSP": "MULT18X18D"},
    "ice40": {"logic": "ICESTORM_LC", "block RAM": "ICESTORM_RAM", "DSP": "ICESTORM_DSP"},
    "gowin": {"logic": "LUT4", "block RAM": "BSRAM", "DSP": "MULT18X18"},
}
"""What place and route calls the resources that can run out."""

ROUNDING = 1e-3
"""Part of a frequency that tools may lose on the way."""

CELLS, REPORT = "top.cells.json", "top.report.json"
"""Files that the build asks Yosys and nextpnr for."""


def collect(board: Board, platform: Any, directory: Path, bitstream: Path) -> dict[str, Any]:
    """Return what a build came to.

    Parameters
    ----------
    board : Board
    platform : amaranth.build.Platform
        The platform that made the plan.
    directory : Path
        Where the tools wrote.
    bitstream : Path

    Raises
    ------
    BuildError
        If the clock was not constrained, or is not reached.
    """
    report = json.loads((directory / REPORT).read_text())
    cells = json.loads((directory / CELLS).read_text())["design"]["num_cells_by_type"]
    link, data = board.link, bitstream.read_bytes()
    return {
        "board": board.name,
        "date": time.strftime("%Y-%m-%d"),
        "device": board.device,
        "package": platform.package,
        "grade": getattr(platform, "speed", None),
        "clock": timing(report, link.clock),
        "cells": {
            what: sum(n for kind, n in cells.items() if kind.startswith(names))
            for what, names in _CELLS[board.family].items()
        },
        "resources": {
            what: report["utilization"].get(name, {"used": 0, "available": 0})
            for what, name in _RESOURCES[board.family].items()
        },
        "configuration": json.loads(board.config.to_json()),
        "digest": board.config.digest,
        "link": {
            "baud": board.baud,
            "baud_error": link.baud_error,
            "frame_bytes": link.frame_bytes,
        },
        "bitstream": {
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        },
    }


def timing(report: dict[str, Any], wanted: int) -> dict[str, Any]:
    """Return the wanted and the reached clock in MHz, and the worst slack in nanoseconds.

    Parameters
    ----------
    report : dict
        nextpnr's report.
    wanted : int
        Clock of the gateware in Hz.

    Raises
    ------
    BuildError
        If no clock was asked to be that fast, or one is too slow.
    """
    clocks = {
        name: {"asked": clock["constraint"], "reached": clock["achieved"]}
        for name, clock in report["fmax"].items()
    }
    target = wanted / 1e6
    if not any(clock["asked"] >= target * (1 - ROUNDING) for clock in clocks.values()):
        raise BuildError(f"place and route was not asked for {target:g} MHz, but for {clocks}")
    for name, clock in clocks.items():
        if clock["reached"] < clock["asked"]:
            raise BuildError(
                f"the clock {name} reaches {clock['reached']:.2f} MHz, "
                f"but {clock['asked']:.2f} MHz is needed"
            )
    slack = min(1e3 / clock["asked"] - 1e3 / clock["reached"] for clock in clocks.values())
    return {"target": target, "clocks": clocks, "slack": round(slack, 3)}
