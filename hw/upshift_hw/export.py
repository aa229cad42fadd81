"""The update unit as RTLIL and as Verilog, whole or with one seeded fault, bare or linked."""

import tempfile
from pathlib import Path

from amaranth.back import rtlil

from upshift.config import UnitConfig
from upshift.formats import Raw
from upshift.link.config import LinkConfig
from upshift_hw import tidy, yosys
from upshift_hw.axi import AxiUnit
from upshift_hw.link import LinkedUnit
from upshift_hw.units import unit_of

TOP = "upshift"
"""Name of the top module; ports are those of the component, with ``clk`` and ``rst``."""

AXI_TOP = "upshift_axi"
"""Name of the top module of a unit in its AXI shell."""


def to_rtlil(config: UnitConfig, *, fault: int | None = None, init: Raw | None = None) -> str:
    """Return the unit as RTLIL.

    Parameters
    ----------
    config : UnitConfig
    fault : int, optional
        Seed of a one-bit fault: one bit at one cell of one lane is inverted. For tests that
        must show that a broken unit is noticed.
    init : ndarray of int64, shape (depth,), optional
        Raw weights that the memory holds at power-up.
    """
    text = rtlil.convert(unit_of(config, init), name=TOP, emit_src=False)
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


# Without initial values a memory of thousands of rows is one line, and what nobody has written
# yet is unknown in simulation, as it should be.
_FORGET = "t:$meminit*"
_FORGET_ALL_BUT_WEIGHTS = f"{_FORGET} *_memory*/{_FORGET} %d"
_VERILOG_SCRIPT = "; ".join(
    [
        "read_rtlil unit.il; hierarchy -check -top {top}",
        # Multiplexers of many inputs would become cases of which only one bit counts.
        "delete {forgotten}; proc; pmuxtree; opt_clean",
        # Resets and enables become `if (rst) ... else if (...)`.
        "opt_dff -simple-dffe; opt_expr; opt_merge",
        # Sums are as wide as their destination, so that no carry is left over.
        "wreduce t:$add t:$sub t:$shl t:$shr t:$mux; splitnets -driver w:$*",
        "opt_clean -purge; memory_collect; write_verilog -noattr unit.v",
    ]
)


def to_verilog(config: UnitConfig, *, fault: int | None = None, init: Raw | None = None) -> str:
    """Return the unit as Verilog-2001, one module per kind of component, the top one first.

    Parameters
    ----------
    config : UnitConfig
    fault, init : optional
        As for `to_rtlil`. Initial weights become initial blocks.
    """
    forgotten = _FORGET if init is None else _FORGET_ALL_BUT_WEIGHTS
    return _verilog(to_rtlil(config, fault=fault, init=init), forgotten)


def linked_verilog(config: UnitConfig, link: LinkConfig) -> str:
    """Return the unit behind its serial link as Verilog-2001.

    Parameters
    ----------
    config : UnitConfig
    link : LinkConfig
    """
    return _verilog(linked_rtlil(config, link))


def axi_rtlil(config: UnitConfig, *, init: Raw | None = None, one_clock: bool = False) -> str:
    """Return the unit in its AXI shell as RTLIL, with the standard names of the ports.

    Parameters
    ----------
    config : UnitConfig
    init, one_clock : optional
        As for `upshift_hw.axi.AxiUnit`.
    """
    unit = AxiUnit(config, init, one_clock=one_clock)
    ports = {
        "_".join(str(part) for part in path): (value, None)
        for path, _member, value in unit.signature.flatten(unit)
    }
    return rtlil.convert(unit, name=AXI_TOP, ports=ports, emit_src=False)


def axi_verilog(config: UnitConfig, *, init: Raw | None = None, one_clock: bool = False) -> str:
    """Return the unit in its AXI shell as Verilog-2001.

    Parameters
    ----------
    config : UnitConfig
    init, one_clock : optional
        As for `upshift_hw.axi.AxiUnit`.
    """
    forgotten = _FORGET if init is None else _FORGET_ALL_BUT_WEIGHTS
    return _verilog(axi_rtlil(config, init=init, one_clock=one_clock), forgotten, top=AXI_TOP)


def _verilog(text: str, forgotten: str = _FORGET, *, top: str = TOP) -> str:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "unit.il").write_text(tidy.tidy_rtlil(text))
        yosys.run(_VERILOG_SCRIPT.format(forgotten=forgotten, top=top), directory)
        return tidy.tidy_verilog((directory / "unit.v").read_text())
