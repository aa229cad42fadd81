"""Recorded vectors: bursts and what must come of them, in one ``.npz`` file.

Whoever writes the file says what the weights and the reports must be, so a bench that plays it
compares the unit with that writer and not only with the integer model. Arrays in the file:

    config                  canonical JSON of the unit's configuration
    weights                 (depth,) raw weights before the first burst
    base, count, rate, resolution
                            (bursts,) the commands, in order
    gradients               raw gradients of all bursts, one burst after the other
    expected_weights        (depth,) raw weights after the last burst
    expected_nonzero, expected_saturated
                            (bursts,) counts of each report
    expected_needed_valid, expected_needed
                            (bursts,) whether there is a q_min, and q_min (0 when there is none)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from upshift.config import UnitConfig
from upshift.formats import Raw
from upshift.layout import Operation
from upshift.reference import Command
from upshift.vectors import Vector

_COMMAND = ("base", "count", "rate", "resolution")
_EXPECTED = ("nonzero", "saturated", "needed_valid", "needed")


@dataclass(frozen=True)
class Expected:
    """What the report of one burst must say."""

    nonzero: int
    saturated: int
    needed: int | None
    """q_min; None when every gradient is zero."""

    def fields(self) -> dict[str, int]:
        """Return the values as report fields."""
        return {
            "nonzero": self.nonzero,
            "saturated": self.saturated,
            "needed_valid": int(self.needed is not None),
            "needed": self.needed or 0,
        }


@dataclass(frozen=True)
class Recorded:
    """Accepted update bursts with what must come of them."""

    config: UnitConfig
    weights: Raw
    vectors: Sequence[Vector]
    expected_weights: Raw
    expected: Sequence[Expected]


def save(path: Path, recorded: Recorded) -> None:
    """Write recorded vectors to a file."""
    commands = [vector.command for vector in recorded.vectors]
    if any(command.operation != Operation.UPDATE for command in commands):
        raise ValueError("only updates can be recorded")
    arrays: dict[str, Any] = {
        "config": np.array(recorded.config.to_json()),
        "weights": np.asarray(recorded.weights, np.int64),
        "gradients": np.concatenate(
            [np.zeros(0, np.int64), *(vector.gradients for vector in recorded.vectors)]
        ),
        "expected_weights": np.asarray(recorded.expected_weights, np.int64),
    }
    for name in _COMMAND:
        arrays[name] = np.array([getattr(command, name) for command in commands], np.int64)
    expected = [one.fields() for one in recorded.expected]
    for name in _EXPECTED:
        arrays[f"expected_{name}"] = np.array([fields[name] for fields in expected], np.int64)
    np.savez_compressed(path, **arrays)


def load(path: Path) -> Recorded:
    """Return the recorded vectors of a file.

    Raises
    ------
    ValueError
        If an array is missing, or sizes do not fit each other.
    """
    with np.load(path, allow_pickle=False) as file:
        names = {"config", "weights", "gradients", "expected_weights", *_COMMAND}
        missing = (names | {f"expected_{name}" for name in _EXPECTED}) - set(file.files)
        if missing:
            raise ValueError(f"{path} has no arrays {sorted(missing)}")
        arrays = {name: file[name] for name in file.files}
    config = UnitConfig.from_json(str(arrays["config"]))
    count = arrays["count"]
    for name in ("weights", "expected_weights"):
        if arrays[name].shape != (config.depth,):
            raise ValueError(f"{path}: {name} has shape {arrays[name].shape}, not one per weight")
    for name in (*_COMMAND, *(f"expected_{name}" for name in _EXPECTED)):
        if arrays[name].shape != count.shape or count.ndim != 1:
            raise ValueError(f"{path}: {name} has shape {arrays[name].shape}, not one per burst")
    if arrays["gradients"].shape != (int(count.sum()),):
        raise ValueError(f"{path}: gradients and counts do not fit each other")
    words = np.split(arrays["gradients"], np.cumsum(count)[:-1])
    rows = zip(*(arrays[name].tolist() for name in _COMMAND), strict=True)
    vectors = [
        Vector(Command(Operation.UPDATE, *row), gradients)
        for row, gradients in zip(rows, words, strict=False)
    ]
    expected = [
        Expected(nonzero, saturated, needed if valid else None)
        for nonzero, saturated, valid, needed in zip(
            *(arrays[f"expected_{name}"].tolist() for name in _EXPECTED), strict=True
        )
    ]
    return Recorded(config, arrays["weights"], vectors, arrays["expected_weights"], expected)
