"""The benches on a compiled netlist: no simulator, no cocotb, a fraction of a second.

The same scenarios, scoreboard and coverage as under cocotb, in this process. Fast enough for
thousands of broken units, and for units of any configuration.
"""

from __future__ import annotations

from upshift.config import UnitConfig
from upshift_hw import export
from upshift_hw.units import timing_of
from upshift_sim import compiled
from upshift_sim.bench.case import UnitCase
from upshift_sim.bench.scenarios import play
from upshift_sim.bench.streamed import bench_of
from upshift_sim.bench.testbench import UnitBench
from upshift_sim.pins import Pins, header, ports

LONGEST = 1_000_000
"""Clocks that a bench may take by default: far more than any does."""


class Netlist:
    """A netlist, compiled once, to be opened in its initial state any number of times.

    Parameters
    ----------
    rtlil : str
    """

    def __init__(self, rtlil: str):
        self._ports = ports(rtlil, export.TOP)
        self._library = compiled.build_pins(rtlil, header(self._ports))

    def open(self) -> Pins:
        """Return a new instance."""
        return Pins(self._library, self._ports)


def case(config: UnitConfig, *, idle: bool, stall: bool, seed: int, bursts: int = 200) -> UnitCase:
    """Return a case that plays all scenarios."""
    return UnitCase(
        config=config.to_json(),
        **timing_of(config)._asdict(),
        idle=idle,
        stall=stall,
        seed=seed,
        bursts=bursts,
        scenarios=None,
        vectors=None,
        result="",
    )


def run(pins: Pins, case: UnitCase, *, longest: int = LONGEST) -> UnitBench:
    """Run the bench and return it; its scoreboard and coverage say what it has done.

    Raises
    ------
    AssertionError
        If the netlist is wrong, hangs, or the bench has not met all that it must.
    """
    bench = bench_of(pins, case, pins.edge)
    pins.run(play(bench), longest=longest)
    return bench
