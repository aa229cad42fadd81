"""Stimuli that several scenarios use."""

from __future__ import annotations

import numpy as np

from upshift.formats import Fixed
from upshift.layout import Operation
from upshift.reference import Command
from upshift.vectors import Vector, near_steps, random_vectors, update
from upshift_sim.bench.testbench import UnitBench


def gradients(bench: UnitBench, count: int) -> list[int]:
    """Return random raw gradients, large ones mostly."""
    fmt, rng = bench.config.gradient, bench.rng
    if isinstance(fmt, Fixed):
        return [rng.randint(fmt.min, fmt.max) for _ in range(count)]
    patterns = np.array([rng.getrandbits(fmt.width) for _ in range(count)], np.int64)
    return [int(word) for word in near_steps(bench.config, patterns, rate=0, resolution=0)]


def raise_floor(resolution: int) -> Vector:
    """Return the command that raises the floor."""
    return Vector(Command(Operation.RAISE, resolution=resolution), np.zeros(0, np.int64))


def randoms(bench: UnitBench, count: int, *, longest: int = 64, floor: int = 0) -> list[Vector]:
    """Return random updates at resolutions from `floor` on."""
    vectors = random_vectors(bench.config, count, bench.rng.getrandbits(32), longest)
    return [
        update(
            vector.command.base,
            vector.gradients,
            rate=vector.command.rate,
            resolution=max(floor, vector.command.resolution),
        )
        for vector in vectors
    ]
