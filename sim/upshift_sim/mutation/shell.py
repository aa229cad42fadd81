"""Mutants of the AXI shell around a unit, judged by the bench of the shell under Verilator.

The unit inside is mutated by itself (`upshift_sim.mutation.suite`), so here only the other modules
are: registers, queues, framers, the ends of the streams, resets, and the crossings between the two
clocks. Each mutant is a run of its own of a simulator that is built once for all of them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from upshift.config import UnitConfig
from upshift_hw import export
from upshift_sim.axi_bench import runner
from upshift_sim.axi_bench.scenarios import SCENARIOS
from upshift_sim.bench.runner import BenchError, check_available
from upshift_sim.formal.btor import Design, parse
from upshift_sim.mutation.netlist import Mutant, prepared, run_yosys, with_mutants
from upshift_sim.mutation.suite import SuiteError

_UNIT = f"{export.AXI_TOP}.shell.unit"
MODULES = f"* {_UNIT} {_UNIT}.* %u %d"
"""Selects everything but the unit."""

PATIENCE = 2
"""A mutant may take so many times the clocks of the sound shell before it is said to hang."""

CASES = (
    (7_300, False, tuple(SCENARIOS)),
    (4_100, True, tuple(SCENARIOS)),
    (97_000, False, ("resets",)),
)
"""Period of the unit's clock in ps, the bus has 10,000; whether there are pauses; scenarios."""

_CRASH = "the simulator ended"
_VERILOG = (
    f"read_rtlil all.il; hierarchy -top {export.AXI_TOP}; memory_collect; opt_clean; "
    "write_verilog -noattr all.v"
)


def sound(config: UnitConfig) -> str:
    """Return the RTLIL of a unit in its shell, with two clocks, as the mutants' common origin."""
    # A multiplexer of many inputs means nothing when a mutant selects two of them.
    script = (
        f"read_rtlil unit.il; hierarchy -top {export.AXI_TOP}; proc; pmuxtree; write_rtlil a.il"
    )
    rtlil = run_yosys(script, {"unit.il": export.axi_rtlil(config)}, "a.il")
    return prepared(rtlil, export.AXI_TOP)


class ShellSuite:
    """The bench of the shell, in one case after another until a mutant fails in one.

    Parameters
    ----------
    config : UnitConfig
    netlist : str
        The sound shell.
    seed : int
        Of everything random in the bench.
    simulator : {"verilator", "icarus"}
        The second is built sooner and runs slower.

    Raises
    ------
    SimulatorMissingError
        If the simulator is not installed.
    """

    def __init__(self, config: UnitConfig, netlist: str, seed: int, simulator: str = "verilator"):
        check_available(simulator)
        self._config = config
        self._netlist = netlist
        self._seed = seed
        self._simulator = simulator

    def failures(self, mutants: list[Mutant]) -> Iterator[str]:
        """Yield for each mutant why the bench fails, or an empty string if it does not.

        Raises
        ------
        SuiteError
            If the bench fails while none of the mutants is selected.
        """
        files = {"all.il": with_mutants(self._netlist, mutants)}
        verilog = run_yosys(_VERILOG, files, "all.v")
        with tempfile.TemporaryDirectory() as name:
            run = _Run(self._config, verilog, self._seed, self._simulator, Path(name))
            for number in range(1, len(mutants) + 1):
                yield run.failure(number)


class _Run:
    """One simulator of the shell with many mutants."""

    def __init__(
        self, config: UnitConfig, verilog: str, seed: int, simulator: str, directory: Path
    ):
        self._config = config
        self._verilog = verilog
        self._seed = seed
        self._simulator = simulator
        self._directory = directory
        self._longest: dict[int, int] = {}

    def failure(self, number: int) -> str:
        """Return why the bench fails on a mutant, empty if it does not."""
        for n in range(len(CASES)):
            if n not in self._longest:
                self._longest[n] = PATIENCE * self._sound_clocks(n)
            try:
                self._play(n, number, self._longest[n])
            except BenchError as error:
                if str(error).startswith(_CRASH):
                    self._crash_again(n, number)
                return str(error).splitlines()[0]
        return ""

    def _crash_again(self, n: int, number: int) -> None:
        """See that it is the mutant that ends the simulator, a loop of its gates for instance."""
        try:
            self._play(n, number, self._longest[n])
        except BenchError as error:
            if str(error).startswith(_CRASH):
                return
        raise SuiteError(f"mutant {number} ended the simulator once, and not again")

    def _sound_clocks(self, n: int) -> int:
        try:
            return self._play(n, 0, None).clocks
        except BenchError as error:
            raise SuiteError(f"the bench fails on the sound shell: {error}") from error

    def _play(self, n: int, mutant: int, longest: int | None) -> runner.AxiResult:
        unit_period, pauses, scenarios = CASES[n]
        return runner.run(
            self._config,
            self._simulator,
            scenarios=scenarios,
            unit_period=unit_period,
            idle=pauses,
            stall=pauses,
            seed=self._seed,
            directory=self._directory,
            verilog=self._verilog,
            mutant=mutant,
            longest=longest,
        )


# -- equivalence ----------------------------------------------------------------------------------

# A step of the transition system is no clock: the two clock inputs say which of them has a rising
# edge in it, in any order, or at once. Nothing but flip-flops looks at them.
_EDGES = r"""
module \$dff (CLK, D, Q);
    parameter WIDTH = 1;
    parameter CLK_POLARITY = 1;
    input CLK;
    input [WIDTH-1:0] D;
    output [WIDTH-1:0] Q;
    \$ff #(.WIDTH(WIDTH)) _TECHMAP_REPLACE_ (.D(CLK ? D : Q), .Q(Q));
endmodule
"""
_SCRIPT = (
    "flatten; opt_clean; memory -nordff; setundef -zero -init; dffunmap; opt_clean; "
    "techmap -map edges.v; opt_clean; setundef -zero -undriven; write_btor shell.btor"
)
CLOCKS = 3
"""Steps of the induction: more of them need not have more edges."""


def transitions(netlist: str, mutant: Mutant | None = None) -> Design:
    """Return the shell, or one of its mutants, as a transition system, whatever the clocks do.

    What a VALID offers is renamed, so that `upshift_sim.mutation.equivalence` knows it.

    Parameters
    ----------
    netlist : str
        From `sound`.
    mutant : Mutant, optional
    """
    change = f"mutate {mutant.arguments}; " if mutant else ""
    script = f"read_rtlil sound.il; hierarchy -top {export.AXI_TOP}; {change}{_SCRIPT}"
    files = {"sound.il": netlist, "edges.v": _EDGES}
    design = parse(run_yosys(script, files, "shell.btor"))
    design.outputs = dict(_outputs(design.outputs))
    return design


def _outputs(outputs: dict[str, int]) -> Iterator[tuple[str, int]]:
    for name, node in outputs.items():
        valid = next((v for v in outputs if v.endswith("valid") and name.startswith(v[:-5])), name)
        if name == valid:
            yield name, node
        else:
            yield f"{name}__payload", node
            yield f"{name}__valid", outputs[valid]
