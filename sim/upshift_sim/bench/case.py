"""What one run of a bench is told, as JSON, because it crosses into the simulator's process."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from upshift.config import UnitConfig

PLUSARG = "upshift_case"
"""Names the file of the case on the simulator's command line."""


@dataclass(frozen=True)
class Case:
    """What all benches are told.

    Attributes
    ----------
    config : str
        The configuration's canonical JSON.
    idle, stall : bool
        Whether sources leave gaps, and whether sinks pause.
    seed : int
        Of everything random.
    scenarios : list of str, optional
        The scenarios to play; all when None.
    result : str
        Where the outcome goes.
    """

    config: str
    idle: bool
    stall: bool
    seed: int
    scenarios: list[str] | None
    result: str

    @property
    def unit(self) -> UnitConfig:
        """The configuration."""
        return UnitConfig.from_json(self.config)

    def save(self, path: Path) -> None:
        """Write the case to a file."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Return the case in a file."""
        return cls(**json.loads(path.read_text()))


@dataclass(frozen=True)
class UnitCase(Case):
    """One run of the bench of a bare unit.

    Attributes
    ----------
    latency, distance : int
        Those of the unit (`upshift_hw.units.timing_of`).
    bursts : int
        Random bursts of the longest scenario.
    vectors : str, optional
        A file of recorded vectors to play as well.
    """

    latency: int
    distance: int
    bursts: int
    vectors: str | None
