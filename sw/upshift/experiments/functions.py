"""Standard non-convex functions on [-1, 1]^d, and a count of what looking at them costs.

The functions are those of the BBOB suite (Hansen et al., 2009) as the package ``ioh`` has them,
with domains of [-5, 5]^d. Each seed gets an instance of its own, moved and rotated, so that no
minimum lies on a grid by accident: the textbook forms have theirs at zero, which every grid has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Point = NDArray[np.float64]
Counting = Literal["d + 1", "1"]

COUNTINGS: tuple[Counting, ...] = ("d + 1", "1")
"""What a gradient may cost, its value included."""
NEAR, SOLVED = 1.0, 0.01
"""Distances from the minimum that count as successes, in units of the suite."""

NUMBERS = {
    "Sphere": 1,
    "Ellipsoid": 10,
    "Rosenbrock": 8,
    "Rastrigin": 15,
    "Weierstrass": 16,
    "Schaffer": 17,
    "Griewank-Rosenbrock": 19,
    "Schwefel": 20,
    "Gallagher 101": 21,
    "Gallagher 21": 22,
    "Lunacek": 24,
}
"""Numbers in the suite."""

_HALF = 5.0  # the suite's domain is -5 to 5
_STEP = 2.0**-20
_SAMPLES = 256


class SpentError(Exception):
    """The evaluations are used up."""


@dataclass
class Problem:
    """One instance of a function, in evaluations that are counted.

    Values are divided by their deviation over the domain, so that the same learning rates mean
    something similar everywhere; the samples for that are counted for nobody.

    Parameters
    ----------
    function : str
        One of `NUMBERS`.
    dimension : int
    seed : int
        Of the instance, and of the first point.
    budget : int
        Evaluations after which `SpentError` is raised.
    counting : {"d + 1", "1"}
        What a gradient costs, its value included. It is a forward difference in any case.
    targets : tuple of float
        Distances from the minimum, in units of the suite.

    Attributes
    ----------
    best : float
        Least distance from the minimum so far, in units of the suite.
    hits : list
        Evaluations after which each target was reached; None for those that were not.
    """

    function: str
    dimension: int
    seed: int
    budget: int
    counting: Counting
    targets: tuple[float, ...] = (NEAR, SOLVED)
    spent: int = 0
    best: float = math.inf
    hits: list[int | None] = field(init=False)

    def __post_init__(self) -> None:
        import ioh

        number, instance = NUMBERS[self.function], self.seed + 1
        self._suite: Any = ioh.get_problem(number, instance, self.dimension, ioh.ProblemClass.BBOB)
        self.minimum = float(self._suite.optimum.y)
        self.hits = [None] * len(self.targets)
        rng = np.random.default_rng([self.seed, 1])
        samples = rng.uniform(-_HALF, _HALF, (_SAMPLES, self.dimension))
        self.scale = float(np.std(self._suite(samples)))
        self._seen: tuple[bytes, float] = (b"", 0.0)

    def start(self) -> Point:
        """Return the first point, the same for all methods."""
        return np.random.default_rng([self.seed, 0]).uniform(-1, 1, self.dimension)

    def quiet(self, points: Point) -> Point:
        """Return the distances of points from the minimum, not counted."""
        return np.asarray(self._suite(points * _HALF)) - self.minimum

    def value(self, point: Point) -> float:
        """Return the scaled value at a point: one evaluation."""
        self._pay(1)
        return self._look(np.asarray(point, float))

    def gradient(self, point: Point) -> Point:
        """Return the gradient of the scaled value, from the values at d points more.

        The value at the point itself is free if it was asked for just before.
        """
        point = np.asarray(point, float)
        known = self._seen[0] == point.tobytes()
        self._pay((not known) + (self.dimension if self.counting == "d + 1" else 0))
        here = self._seen[1] if known else self._look(point)
        steps = np.where(point + _STEP > 1, -_STEP, _STEP)
        around = np.asarray(self._suite((point + np.diag(steps)) * _HALF)) - self.minimum
        return np.asarray((around / self.scale - here) / steps)

    def _look(self, point: Point) -> float:
        distance = float(self._suite(point * _HALF)) - self.minimum
        self.best = min(self.best, distance)
        for number, target in enumerate(self.targets):
            if self.hits[number] is None and distance <= target:
                self.hits[number] = self.spent
        self._seen = (point.tobytes(), distance / self.scale)
        return distance / self.scale

    def _pay(self, cost: int) -> None:
        if self.spent + cost > self.budget:
            raise SpentError
        self.spent += cost
