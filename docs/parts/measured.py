"""Numbers that come from tools: cells after synthesis, and what a command prints."""

from __future__ import annotations

import subprocess
import sys

from upshift.config import UnitConfig
from upshift_hw import export, synthesis
from upshift_hw.synthesis import Family

_COLUMNS: dict[Family, dict[str, tuple[str, ...]]] = {
    "ecp5": {
        "LUT4": ("LUT4",),
        "carry": ("CCU2C",),
        "flip-flops": ("TRELLIS_FF",),
        "block RAM": ("DP16KD",),
        "distributed RAM": ("TRELLIS_DPR16X4",),
        "DSP": ("MULT18X18D", "ALU54B"),
    },
    "ice40": {
        "LUT4": ("SB_LUT4",),
        "carry": ("SB_CARRY",),
        "flip-flops": ("SB_DFF",),
        "block RAM": ("SB_RAM40_4K",),
        "distributed RAM": (),
        "DSP": ("SB_MAC16",),
    },
}
"""Cell types of each column; a flip-flop of the iCE40 has many types that begin alike."""


_NAMES: dict[Family, str] = {"ecp5": "ECP5", "ice40": "iCE40"}


def area_table(configs: list[UnitConfig]) -> str:
    """Return the cells that each configuration needs for each family."""
    names = list(_COLUMNS["ecp5"])
    lines = [
        f"| unit | family | {' | '.join(names)} |",
        f"|---|---|{'---:|' * len(names)}",
    ]
    for config in configs:
        verilog = export.to_verilog(config)
        unit = (
            f"{config.lanes} lanes, weight {config.weight}, gradient {config.gradient}, "
            f"k to {config.max_rate}, depth {config.depth}"
        )
        for family, columns in _COLUMNS.items():
            cells = synthesis.cells(verilog, family)
            counts = [
                sum(n for kind, n in cells.items() if types and kind.startswith(types))
                for types in columns.values()
            ]
            lines.append(f"| {unit} | {_NAMES[family]} | {' | '.join(map(str, counts))} |")
    return "\n".join(lines) + "\n"


def shell_area(config: UnitConfig) -> dict[str, dict[str, int]]:
    """Return what a unit and the same unit behind AXI need on an ECP5, and the difference."""
    cells = {
        "unit": synthesis.cells(export.to_verilog(config), "ecp5"),
        "unit behind AXI": synthesis.cells(export.axi_verilog(config), "ecp5", top=export.AXI_TOP),
    }
    area = {
        name: {
            "LUT4 + 2 CCU2C": found["LUT4"] + 2 * found["CCU2C"],
            "flip-flops": found["TRELLIS_FF"],
            "distributed RAM": found.get("TRELLIS_DPR16X4", 0),
        }
        for name, found in cells.items()
    }
    unit, whole = area.values()
    return area | {"shell": {kind: whole[kind] - unit[kind] for kind in unit}}


def shell_table(area: dict[str, dict[str, int]]) -> str:
    """Return what `shell_area` has found as a table."""
    kinds = list(area["shell"])
    lines = [f"| | {' | '.join(kinds)} |", f"|---|{'---:|' * len(kinds)}"]
    for name, found in area.items():
        lines.append(f"| {name} | {' | '.join(str(found[kind]) for kind in kinds)} |")
    return "\n".join(lines) + "\n"


def command_output(*arguments: str) -> str:
    """Return what an `upshift` command prints, and insist that it succeeds."""
    code = "import sys; from upshift import cli; sys.exit(cli.main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout
