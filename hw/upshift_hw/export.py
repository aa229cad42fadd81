"""The update unit as RTLIL and as Verilog, whole or with one seeded fault, bare or linked."""

import tempfile
from pathlib import Path

from amaranth.back import rtlil

from upshift.config import UnitConfig
from upshift.link.config import LinkConfig
from upshift_hw import tidy, yosys
from upshift_hw.link import LinkedUnit
from upshift_hw.unit import UpdateUnit

TOP = "upshift"
"""Name of the top module; ports are those of the component, with ``clk`` and ``rst``."""


def to_rtlil(config: UnitConfig, *, fault: int | None = None) -> str:
    """Return the unit as RTLIL.

    Parameters
    ----------
    config : UnitConfig
    fault : int, optional
        Seed of a one-bit fault: one bit at one cell of one lane is inverted. For tests that
        must show that a broken unit is noticed.
    """
    text = rtlil.convert(UpdateUnit(config), name=TOP, emit_src=False)
    return text if fault is None else _inject(text, fault)


def linked_rtlil(config: UnitConfig, link: LinkConfig) -> str:
    """Return the unit behind its serial link as RTLIL.

    Parameters
    ----------
    config : UnitConfig
    link : LinkConfig
    """
    return rtlil.convert(LinkedUnit(config, link), name=TOP, emit_src=False)


def _inject(text: str, seed: int) -> str:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "unit.il").write_text(text)
        yosys.run(
            f"read_rtlil unit.il; hierarchy -top {TOP}; proc; "
            f"mutate -list 1 -seed {seed} -mode inv -o fault.ys "
            f"{TOP}.datapath.align* {TOP}.datapath.lane*",
            directory,
        )
        yosys.run(
            f"read_rtlil unit.il; hierarchy -top {TOP}; proc; script fault.ys; "
            "write_rtlil faulty.il",
            directory,
        )
        return (directory / "faulty.il").read_text()


_VERILOG_SCRIPT = "; ".join(
    [
        f"read_rtlil unit.il; hierarchy -check -top {TOP}",
        # Without initial values a memory of thousands of rows is one line, and what nobody has
        # written yet is unknown in simulation, as it should be.
        "delete t:$meminit*",
        "proc; opt_clean",
        # Resets and enables become `if (rst) ... else if (...)`.
        "opt_dff -simple-dffe; opt_expr; opt_merge",
        # Sums are as wide as their destination, so that no carry is left over.
        "wreduce t:$add t:$sub t:$shl t:$shr t:$mux; splitnets -driver w:$*",
        "opt_clean -purge; memory_collect; write_verilog -noattr unit.v",
    ]
)


def to_verilog(config: UnitConfig, *, fault: int | None = None) -> str:
    """Return the unit as Verilog-2001, one module per kind of component, the top one first.

    Parameters
    ----------
    config : UnitConfig
    fault : int, optional
        Seed of a one-bit fault, as for `to_rtlil`.
    """
    return _verilog(to_rtlil(config, fault=fault))


def linked_verilog(config: UnitConfig, link: LinkConfig) -> str:
    """Return the unit behind its serial link as Verilog-2001.

    Parameters
    ----------
    config : UnitConfig
    link : LinkConfig
    """
    return _verilog(linked_rtlil(config, link))


def _verilog(text: str) -> str:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "unit.il").write_text(tidy.tidy_rtlil(text))
        yosys.run(_VERILOG_SCRIPT, directory)
        return tidy.tidy_verilog((directory / "unit.v").read_text())
