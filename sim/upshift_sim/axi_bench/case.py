"""What one run of the bench of the AXI shell is told."""

from __future__ import annotations

from dataclasses import dataclass

from upshift_sim.bench.case import Case


@dataclass(frozen=True)
class AxiCase(Case):
    """One run.

    Attributes
    ----------
    bus_period, unit_period : int
        Periods of the clocks in ps, even; the unit's is None where both have the bus clock.
    mutant : int, optional
        What the input of that name selects, of a netlist that has it.
    longest : int, optional
        Bus clocks after which the bench fails.
    """

    bus_period: int
    unit_period: int | None
    mutant: int | None = None
    longest: int | None = None
