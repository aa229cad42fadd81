"""Writes a unit in its AXI shell for others to use: Verilog, constraints, IP script, registers."""

import os
from importlib.resources import files
from pathlib import Path

from amaranth.hdl import Fragment, Shape
from amaranth.lib.wiring import In

import upshift
from upshift import registers
from upshift.config import UnitConfig
from upshift.formats import Raw
from upshift.registers import REGISTERS, SHELL
from upshift.words import word_bytes
from upshift_hw import export, pages
from upshift_hw.axi import AxiUnit, constraints, packaging

_TABLE = (*REGISTERS, *SHELL)
_PORTS = {
    "aclk": "clock of the buses",
    "aresetn": "reset, active low, synchronous to `aclk`",
    "unit_clk": "clock of the unit",
    "irq": "interrupt, level, active high",
}

_PARALLEL_CASES = """
// A multiplexer whose selects exclude each other, such as the states of a machine, is written as a
// casez of which at most one pattern fits.
lint_off -rule CASEOVERLAP -file "*{top}.v"
"""


def generate(
    config: UnitConfig,
    directory: str | os.PathLike[str],
    *,
    init: Raw | None = None,
    one_clock: bool = False,
) -> list[Path]:
    """Write the unit that `config` describes in its AXI shell.

    Parameters
    ----------
    config : UnitConfig
    directory : path
        Created if it does not exist. Files of the same names are replaced, others left alone.
    init, one_clock : optional
        As for `upshift_hw.axi.AxiUnit`.

    Returns
    -------
    list of Path
        The files, `upshift_axi.v` first.

    Raises
    ------
    ValueError
        If the gateware does not take the configuration or `init`. Nothing has been written then.
    OSError
        If a file cannot be written. Each file is either complete or as it was before.
    """
    unit = AxiUnit(config, init, one_clock=one_clock)
    Fragment.get(unit, platform=None)  # refuses what the gateware cannot be
    top = export.AXI_TOP
    values = {
        "summary": pages.summary(config, init),
        "digest": config.digest,
        "version": upshift.__version__,
        "ports": "\n".join(port_rows(unit)),
        "gradient_bytes": word_bytes(config.gradient.width),
        "weight_bytes": word_bytes(config.weight.width),
    }
    contents = {
        f"{top}.v": _heading(config, init)
        + export.axi_verilog(config, init=init, one_clock=one_clock),
        f"{top}.vlt": _waivers(top),
        f"{top}.xdc": constraints.to_xdc(unit, top),
        "package_ip.tcl": packaging.to_tcl(unit, top),
        "config.json": pages.configuration(config),
        "registers.json": registers.to_json(_TABLE),
        "registers.md": f"# Registers\n\n{registers.to_markdown(_TABLE, step=4)}",
        "registers.h": registers.axi_c_header(config),
        "README.md": pages.page("axi.md", values),
    }
    return pages.write(directory, contents)


def _waivers(top: str) -> str:
    text = files("upshift_hw").joinpath("templates", "upshift.vlt").read_text(encoding="utf-8")
    return text.replace("upshift.v", f"{top}.v") + _PARALLEL_CASES.format(top=top)


def _heading(config: UnitConfig, init: Raw | None) -> str:
    lines = [
        f"Upshift update unit behind AXI: {pages.summary(config, init)}.",
        f"Configuration digest {config.digest}.",
        f"Emitted by Upshift {upshift.__version__}, {pages.tools()}.",
    ]
    return "".join(f"// {line}\n" for line in lines) + "\n`timescale 1ns / 1ps\n\n"


def port_rows(unit: AxiUnit) -> list[str]:
    """Return one line of a Markdown table for each port, interface by interface."""
    rows = []
    for path, member, _value in unit.signature.flatten(unit):
        name = "_".join(str(part) for part in path)
        direction = "input" if member.flow == In else "output"
        meaning = _PORTS.get(name) or f"{path[-1].upper()}"
        rows.append(f"| `{name}` | {direction} | {Shape.cast(member.shape).width} | {meaning} |")
    return rows
