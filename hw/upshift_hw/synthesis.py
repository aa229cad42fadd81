"""Counts what a unit costs: cells after synthesis for an FPGA family, with pip's Yosys."""

import json
import tempfile
from pathlib import Path
from typing import Literal

from upshift_hw import yosys

Family = Literal["ecp5", "ice40"]

_SYNTHESIS: dict[Family, str] = {"ecp5": "synth_ecp5 -nodsp", "ice40": "synth_ice40"}


def cells(verilog: str, family: Family, *, top: str = "upshift") -> dict[str, int]:
    """Return how many cells of each type the design needs, hierarchy flattened.

    Parameters
    ----------
    verilog : str
        Source text.
    family : {"ecp5", "ice40"}
    top : str
        Top module.

    Raises
    ------
    ValueError
        If the family is not one of these.
    RuntimeError
        If Yosys fails.
    """
    if family not in _SYNTHESIS:
        raise ValueError(f"family {family!r} is not allowed: 'ecp5' or 'ice40'")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "unit.v").write_text(verilog)
        yosys.run(
            # The WebAssembly build prints nothing any more once ABC has run.
            f"read_verilog unit.v; {_SYNTHESIS[family]} -top {top}; "
            "tee -q -o cells.json stat -json",
            directory,
        )
        design = json.loads((directory / "cells.json").read_text())["design"]
        return {kind: int(number) for kind, number in design["num_cells_by_type"].items()}
