"""What one run of the bench is told, as JSON, because it crosses into the simulator's process."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from upshift.config import UnitConfig

PLUSARG = "upshift_axi_case"
"""Names the file of the case on the simulator's command line."""


@dataclass(frozen=True)
class AxiCase:
    """One run.

    Attributes
    ----------
    config : str
        The configuration's canonical JSON.
    bus_period, unit_period : int
        Periods of the clocks in ps, even; the unit's is None where both have the bus clock.
    idle, stall : bool
        Whether sources leave gaps, and whether sinks pause.
    seed : int
        Of everything random.
    scenarios : list of str
        Names of `upshift_sim.axi_bench.scenarios.SCENARIOS`.
    result : str
        Where the outcome goes.
    """

    config: str
    bus_period: int
    unit_period: int | None
    idle: bool
    stall: bool
    seed: int
    scenarios: list[str]
    result: str

    @property
    def unit(self) -> UnitConfig:
        """The configuration."""
        return UnitConfig.from_json(self.config)

    def save(self, path: Path) -> None:
        """Write the case to a file."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> AxiCase:
        """Return the case in a file."""
        return cls(**json.loads(path.read_text()))
