"""Stimuli that several scenarios use."""

from __future__ import annotations

import numpy as np

from upshift.formats import Fixed
from upshift.layout import Operation
from upshift.reference import Command
from upshift.vectors import Vector, random_vectors, update
from upshift_sim.bench.testbench import UnitBench


def ends(bench: UnitBench) -> tuple[int, int]:
    """Return the smallest and the largest raw gradient."""
    gradient = bench.config.gradient
    assert isinstance(gradient, Fixed)
    return gradient.min, gradient.max


def gradients(bench: UnitBench, count: int) -> list[int]:
    """Return random raw gradients, large ones mostly."""
    low, high = ends(bench)
    return [bench.rng.randint(low, high) for _ in range(count)]


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
