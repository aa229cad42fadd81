"""What one run of a bench is told, as JSON, because it crosses into the simulator's process."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from upshift.config import UnitConfig

PLUSARG = "upshift_case"
"""Names the file of the case on the simulator's command line."""


@dataclass(frozen=True)
class Case:
    """One run of a bench.

    Attributes
    ----------
    config : str
        The configuration's canonical JSON.
    latency, distance : int
        Those of the unit (`upshift_hw.units.timing_of`).
    idle, stall : bool
        Whether sources leave gaps, and whether sinks pause.
    seed : int
        Of everything random.
    bursts : int
        Random bursts of the longest scenario.
    scenarios : list of str, optional
        The scenarios to play; all when None.
    vectors : str, optional
        A file of recorded vectors to play as well.
    result : str
        Where the outcome goes.
    """

    config: str
    latency: int
    distance: int
    idle: bool
    stall: bool
    seed: int
    bursts: int
    scenarios: list[str] | None
    vectors: str | None
    result: str

    @property
    def unit(self) -> UnitConfig:
        """The configuration."""
        return UnitConfig.from_json(self.config)

    def save(self, path: Path) -> None:
        """Write the case to a file."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> Case:
        """Return the case in a file."""
        return cls(**json.loads(path.read_text()))
