"""Builds a simulator of a unit in its AXI shell and runs the bench in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cocotb_tools.runner import get_runner

from upshift.config import UnitConfig
from upshift_hw import export
from upshift_sim.axi_bench.case import AxiCase
from upshift_sim.bench.runner import (
    BUILD_ARGS,
    build,
    check_available,
    environment,
    run_directory,
    simulate,
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
    mutant: int | None = None,
    longest: int | None = None,
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
    mutant, longest : int, optional
        What selects a mutant in such a Verilog, and the bus clocks after which the bench fails.

    Raises
    ------
    SimulatorMissingError
        If the simulator is not installed.
    BenchError
        If the bench fails; the message says why.
    """
    check_available(simulator)
    directory = directory.resolve()
    one_clock = unit_period is None
    name = f"{simulator}-{config.digest[:12]}-{'one' if one_clock else 'two'}"
    place = run_directory(directory, f"{name}-{unit_period}", idle=idle, stall=stall, seed=seed)
    case = AxiCase(
        config=config.to_json(),
        bus_period=bus_period,
        unit_period=unit_period,
        idle=idle,
        stall=stall,
        seed=seed,
        scenarios=list(scenarios),
        result=str(place / "result.json"),
        mutant=mutant,
        longest=longest,
    )
    verilog = verilog or export.axi_verilog(config, one_clock=one_clock)
    top = export.AXI_TOP
    with environment(simulator):
        runner = get_runner(simulator)
        build(runner, verilog, directory / name, BUILD_ARGS[simulator], waves=False, top=top)
        outcome = simulate(
            runner, case, simulator, module="upshift_sim.axi_bench.axi_test", top=top
        )
    return AxiResult(**outcome)
