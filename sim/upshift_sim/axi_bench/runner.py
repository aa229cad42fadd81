"""Builds a simulator of a unit in its AXI shell and runs the bench in it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cocotb_tools.runner import get_runner

from upshift.config import UnitConfig
from upshift_hw import export
from upshift_sim.axi_bench.case import PLUSARG, AxiCase
from upshift_sim.bench.runner import (
    BUILD_ARGS,
    BenchError,
    build,
    check_available,
    environment,
    tail,
)


@dataclass(frozen=True)
class AxiResult:
    """What a bench that passed has done.

    Attributes
    ----------
    clocks : int
        Bus clocks simulated.
    commands, reports, rows : int
        Commands started, reports and rows of weights compared.
    seconds : float
        Wall clock of the simulation, without start and build.
    """

    clocks: int
    commands: int
    reports: int
    rows: int
    seconds: float


def run(
    config: UnitConfig,
    simulator: str,
    *,
    scenarios: Sequence[str],
    bus_period: int = 10_000,
    unit_period: int | None = 10_000,
    idle: bool = False,
    stall: bool = False,
    seed: int,
    directory: Path,
    verilog: str | None = None,
) -> AxiResult:
    """Run scenarios on one unit in one simulator.

    Parameters
    ----------
    config : UnitConfig
    simulator : {"icarus", "verilator"}
    scenarios : sequence of str
        Names of `upshift_sim.axi_bench.scenarios.SCENARIOS`.
    bus_period, unit_period : int
        Periods of the clocks in ps, even; None for a unit with the bus clock.
    idle, stall : bool
        Leave gaps between beats; let what comes out wait.
    seed : int
        Of everything random.
    directory : Path
        Holds one build directory for each unit and simulator, and one for each run.
    verilog : str, optional
        To be simulated instead of the unit's own, for benches that must fail.

    Raises
    ------
    SimulatorMissingError
        If the simulator is not installed.
    BenchError
        If the bench fails; the message says why.
    """
    check_available(simulator)
    directory = directory.resolve()
    clocks = "one" if unit_period is None else "two"
    runs = directory / f"{simulator}-{config.digest[:12]}-{unit_period}-{idle:d}{stall:d}-{seed}"
    runs.mkdir(parents=True, exist_ok=True)
    case = AxiCase(
        config=config.to_json(),
        bus_period=bus_period,
        unit_period=unit_period,
        idle=idle,
        stall=stall,
        seed=seed,
        scenarios=list(scenarios),
        result=str(runs / "result.json"),
    )
    case.save(runs / "case.json")
    result, log = Path(case.result), runs / "simulation.log"
    result.unlink(missing_ok=True)
    if verilog is None:
        verilog = export.axi_verilog(config, one_clock=unit_period is None)
    place = directory / f"{simulator}-{config.digest[:12]}-{clocks}"
    with environment(simulator):
        runner = get_runner(simulator)
        build(runner, verilog, place, BUILD_ARGS[simulator], waves=False, top=export.AXI_TOP)
        # Exit codes differ between simulators and under pytest; the outcome file does not.
        with contextlib.suppress(RuntimeError, SystemExit):
            runner.test(
                test_module="upshift_sim.axi_bench.axi_test",
                hdl_toplevel=export.AXI_TOP,
                hdl_toplevel_lang="verilog",
                seed=seed,
                plusargs=[f"+{PLUSARG}={runs / 'case.json'}"],
                extra_env={"COCOTB_REWRITE_ASSERTION_FILES": "", "COCOTB_LOG_LEVEL": "WARNING"},
                test_dir=runs,
                results_xml=str(runs / "results.xml"),
                log_file=log,
            )
    if not result.exists():
        raise BenchError(f"the simulator ended before the bench did:\n{tail(log)}")
    outcome = json.loads(result.read_text())
    if (error := outcome.pop("error")) is not None:
        failed = BenchError(f"{error}\n  {simulator}, {case}")
        failed.add_note(f"see {log}")
        raise failed
    return AxiResult(**outcome)
