"""Compiles RTL to a shared library, once per design, tools and processor.

RTLIL from Amaranth becomes C++ by Yosys' CXXRTL back end and a shared library by the system's
C++ compiler, together with a harness that drives its ports: ``harness.cpp`` those of the bare
update unit, ``board.cpp`` the pins of a unit behind its link, ``sweep.cpp`` a unit that is shown
all words, ``pins.cpp`` any netlist, for benches in Python. Libraries are cached under a hash of
everything that went in.
"""

from __future__ import annotations

import functools
import importlib.resources
import time
from collections.abc import Callable
from pathlib import Path

from upshift import layout, native
from upshift.config import UnitConfig
from upshift.device import DeviceError
from upshift.link.config import LinkConfig
from upshift_hw import export, yosys

# Without NDEBUG a masked write outside the memory, which changes nothing, would abort.
_FLAGS = ["-std=c++17", "-O3", "-march=native", "-DNDEBUG"]
# Narrow stores that wide loads wait for make vectors slow.
_FLAGS += ["-fvisibility=hidden", "-fno-tree-vectorize"]
_SCRIPT = (
    # Feedback through wide wires, whose parts have different drivers, would take several
    # evaluations per clock, and the harnesses make one. A full `opt` would leave some.
    f"read_rtlil unit.il; hierarchy -top {export.TOP}; proc; flatten; opt_expr; opt_merge; "
    "opt_clean; splitnets -driver; opt_clean -purge; write_cxxrtl -g0 -O6 unit.cpp"
)


class CompilerMissingError(DeviceError):
    """There is no C++ compiler."""


def layout_header(config: UnitConfig) -> str:
    """Return the payload layouts as C++ constants."""
    lines = [
        f"#define UPSHIFT_STREAMED {config.memory == 'streamed':d}",
        f"#define UPSHIFT_UPDATES {config.updates:d}",
        "namespace layout {",
        f"constexpr int64_t LANES = {config.lanes};",
        f"constexpr int64_t ROWS = {config.rows};",
        f"constexpr unsigned WEIGHT_WIDTH = {config.weight.width};",
        f"constexpr unsigned GRADIENT_WIDTH = {config.gradient.width};",
    ]
    for name in ("command", "report", "access", "updates"):
        lines.append(f"namespace {name} {{")
        for offset, field in layout.places(getattr(layout, name)(config)):
            lines.append(f"constexpr unsigned {field.name}_offset = {offset};")
            lines.append(f"constexpr unsigned {field.name}_width = {field.width};")
        lines.append("}")
    return "\n".join([*lines, "}"]) + "\n"


def build(config: UnitConfig, *, fault: int | None = None) -> tuple[Path, dict[str, float]]:
    """Compile a unit unless it is in the cache.

    Parameters
    ----------
    config : UnitConfig
    fault : int, optional
        Seed of a one-bit fault (see `upshift_hw.export.to_rtlil`).

    Returns
    -------
    library : Path
    seconds : dict
        By phase.

    Raises
    ------
    CompilerMissingError
        If there is no C++ compiler.
    DeviceError
        If it fails, or Yosys does, or the cache cannot be written.
    """
    header = {"unit_layout.h": layout_header(config)}
    return _build("harness.cpp", header, lambda: _rtlil(config, fault))


def build_board(config: UnitConfig, link: LinkConfig) -> tuple[Path, dict[str, float]]:
    """Compile a unit behind its link, pins and all, unless it is in the cache.

    Parameters
    ----------
    config : UnitConfig
    link : LinkConfig

    Returns and raises what `build` does.
    """
    return _build("board.cpp", {}, lambda: _linked_rtlil(config, link))


def build_sweep(config: UnitConfig, *, fault: int | None = None) -> Path:
    """Compile a unit together with what sweeps it, unless it is in the cache.

    Takes and raises what `build` does.
    """
    reference = "sweep_reference.h"
    headers = {"unit_layout.h": layout_header(config), reference: _text(reference)}
    return _build("sweep.cpp", headers, lambda: export.to_rtlil(config, fault=fault))[0]


def build_pins(rtlil: str, pins: str) -> Path:
    """Compile a netlist whose ports Python drives, unless it is in the cache.

    Parameters
    ----------
    rtlil : str
        A design with the top module that `upshift_hw.export` gives it.
    pins : str
        Its ports, as `upshift_sim.pins.header` lists them.

    Raises what `build` does.
    """
    return _build("pins.cpp", {"pins.h": pins}, lambda: rtlil, settles=True)[0]


@functools.lru_cache(maxsize=8)
def _rtlil(config: UnitConfig, fault: int | None) -> str:
    """Return the RTLIL of a unit; a program that opens one again need not elaborate it again."""
    return export.to_rtlil(config, fault=fault)


@functools.lru_cache(maxsize=8)
def _linked_rtlil(config: UnitConfig, link: LinkConfig) -> str:
    """Return the RTLIL of a board; a program that opens one again need not elaborate it again."""
    return export.linked_rtlil(config, link)


def _text(name: str) -> str:
    return (importlib.resources.files("upshift_sim") / name).read_text()


def _build(
    harness: str, headers: dict[str, str], rtlil: Callable[[], str], *, settles: bool = False
) -> tuple[Path, dict[str, float]]:
    """Compile; a harness that `settles` evaluates a netlist until nothing changes any more."""
    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def end(phase: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[phase] = now - clock
        clock = now

    def prepare(directory: Path) -> list[str]:
        if "feedback wires" in yosys.run(_SCRIPT, directory) and not settles:
            raise DeviceError("the design has feedback wires: one evaluation is not a clock")
        end("RTLIL to C++ (Yosys)")
        return [f"-I{yosys.cxxrtl_include()}"]

    try:
        native.compiler()  # a missing one is told before the gateware is made
        sources = {
            "unit.il": rtlil(),
            "harness.cpp": _text(harness),
            "netlist.h": _text("netlist.h"),
            **headers,
        }
        end("gateware to RTLIL")
        others = (_SCRIPT, yosys.version())
        library = native.library(sources, "harness.cpp", _FLAGS, others=others, prepare=prepare)
    except native.CompilerMissingError as error:
        raise CompilerMissingError(f"compiled RTL {error}") from None
    except DeviceError:
        raise
    except (OSError, RuntimeError) as error:
        raise DeviceError(f"the unit could not be compiled: {error}") from error
    if "RTLIL to C++ (Yosys)" in seconds:
        end("C++ to native code (compiler)")
    return library, seconds
