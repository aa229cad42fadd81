"""Replays the ladder's vectors on a device that exists already, such as a board on a cable.

Every report and, at the end, every weight is compared with the integer model's.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from upshift import registers, vectors
from upshift.config import UnitConfig
from upshift.device import Device, DeviceError
from upshift.formats import Raw
from upshift.vectors import Vector

Reports = list[dict[str, int]]


@runtime_checkable
class Player(Protocol):
    """A device that takes commands as they are, those that its unit must refuse included."""

    config: UnitConfig

    def play(self, vectors: Iterable[Vector]) -> Reports:
        """Send commands and return the fields of their reports."""
        ...

    def write(self, base: int, weights: Any) -> None:
        """Write weights."""
        ...

    def read(self, base: int, count: int) -> Raw:
        """Return weights."""
        ...


@dataclass(frozen=True)
class Replay:
    """The outcome of one replay.

    Attributes
    ----------
    identity : dict
        What the registers of such a unit hold.
    bursts, updates, weights, reports : int
        Random bursts asked for; weight updates made; weights and reports compared.
    failure : str
        What differed; empty if nothing did.
    seconds : float
    """

    config: UnitConfig
    seed: int
    bursts: int
    updates: int
    weights: int
    reports: int
    failure: str
    seconds: float

    @property
    def identity(self) -> dict[str, int]:
        """What the identity registers of such a unit hold."""
        return registers.identity(self.config)


def difference(found: tuple[Raw, Reports], expected: tuple[Raw, Reports]) -> str:
    """Return what differs between two outcomes, weights first; empty if nothing does."""
    (weights, reports), (right, told) = found, expected
    different = np.flatnonzero(weights != right)
    if different.size:
        at = int(different[0])
        return (
            f"{different.size} weights differ, the first at address {at}: "
            f"{weights[at]} instead of {right[at]}"
        )
    for n, (report, wanted) in enumerate(zip(reports, told, strict=True)):
        if report != wanted:
            return f"report {n} is {report} instead of {wanted}"
    return ""


def play(device: Player, weights: Raw, some: list[Vector]) -> tuple[Raw, Reports]:
    """Write weights, play vectors and return all weights and reports."""
    device.write(0, weights)
    reports = device.play(some)
    return device.read(0, device.config.depth), reports


def replay(device: Device, *, bursts: int, seed: int) -> Replay:
    """Replay random bursts and all corners that fit the device's frames.

    Parameters
    ----------
    device : Device
        One that can play commands as they are: ``rtl:`` or one behind a link.
    bursts : int
    seed : int

    Raises
    ------
    DeviceError
        If the device cannot play commands, or fails.
    """
    if not isinstance(device, Player):
        raise DeviceError(
            f"vectors cannot be replayed on a {type(device).__name__}, which takes no command "
            "that its unit must refuse: use rtl: or a board"
        )
    config = device.config
    longest = getattr(device, "longest_burst", config.depth)
    some = [
        vector
        for vector in vectors.standard(config, bursts, seed)
        if vector.gradients.size <= longest
    ]
    start = vectors.initial_weights(config, seed)
    expected = vectors.expect(config, start, some)
    clock = time.perf_counter()
    found = play(device, start, some)
    return Replay(
        config=config,
        seed=seed,
        bursts=bursts,
        updates=sum(report["elements"] for report in expected[1]),
        weights=found[0].size,
        reports=len(found[1]),
        failure=difference(found, expected),
        seconds=time.perf_counter() - clock,
    )
