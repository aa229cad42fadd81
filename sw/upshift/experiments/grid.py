"""A statement of an earlier paper: with Q_p large enough, steps end at the quantized optimum.

The paper (Seok & Kim, IEMEK 2020) is known to us by its abstract alone: the sequence that the
quantized equation produces converges to the optimum of the *quantized* objective if the
quantization parameter is large enough. Here the objective is ``Q(f)`` on the points of the grid
with step ``2^-q`` in [-1, 1]^2, all of which are looked at, and the equation starts on that grid
and never leaves it.
"""

from __future__ import annotations

import numpy as np

from upshift.experiments.functions import Point, Problem
from upshift.experiments.methods import on_grid, quantized_step
from upshift.resolution import Constant

FUNCTIONS = ("Sphere", "Rosenbrock", "Rastrigin", "Gallagher 101")
STEPS = 400


def quantized_objective(problem: Problem, points: Point, q: int) -> Point:
    """Return Q(f) at points, f in units of its deviation over the domain, less its minimum."""
    return on_grid(problem.quiet(points) / problem.scale, q)


def lowest(problem: Problem, q: int) -> float:
    """Return the minimum of the quantized objective over all points of the grid."""
    line = np.arange(-(2**q), 2**q + 1) * 2.0**-q
    points = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    return float(quantized_objective(problem, points, q).min())


def descend(problem: Problem, q: int, rate: int) -> tuple[Point, bool]:
    """Follow the quantized equation on the grid, and return where it ends.

    Returns
    -------
    point : array
        Where it stands still, or where it is after `STEPS` steps.
    still : bool
        Whether its last step was zero.
    """
    policy = Constant(q)
    point = on_grid(problem.start(), q)
    for _ in range(STEPS):
        step = quantized_step(problem.gradient(point) * 2.0**-rate, policy)
        after = np.clip(point - step, -1, 1)
        if np.array_equal(after, point):
            return point, True
        point = after
    return point, False
