"""Ways to look for a minimum: the quantized equation, and what it is compared with.

Every method gets a `Problem` and looks until its evaluations are spent. Those that follow the
gradient stay in [-1, 1]^d by clamping, as a fixed-point format would. Each has the same number of
settings to choose from.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import numpy as np

from upshift.experiments.functions import Point, Problem, SpentError
from upshift.formats import round_half_up
from upshift.resolution import Band, Policy, resolution_needed

RATES = (1, 3, 5, 7, 9)
"""k of the learning rates 2^-k that gradient methods choose from."""

EPOCHS = 100
"""Into how many epochs of the schedule a run is divided."""

Setting = dict[str, float]
Move = Callable[[Point], Point]
"""From lambda * h, the step to take."""
Method = Callable[[Problem, Setting, np.random.Generator], None]


def steps_of(problem: Problem) -> int:
    """Return how many gradients the budget pays for."""
    return problem.budget // (problem.dimension + 1 if problem.counting == "d + 1" else 1)


def quantized_step(step: Point, policy: Policy) -> Point:
    """Return Q(step) at the resolution that the policy chooses, ties up."""
    needed = resolution_needed(float(step.min()), float(step.max()))
    return on_grid(step, policy.observe(0, needed))


def on_grid(x: Point, q: int) -> Point:
    """Return Q(x) = floor(2**q x + 1/2) / 2**q, element-wise."""
    return round_half_up(x * 2.0**q) * 2.0**-q


def _descend(problem: Problem, rate: float, move: Move, epoch: Callable[[], None]) -> None:
    """Follow the gradient, with a rule for steps, and a call at the start of each later epoch."""
    point, steps = problem.start(), steps_of(problem)
    length = max(1, steps // EPOCHS)
    for number in range(steps):
        if number and number % length == 0:
            epoch()
        point = np.clip(point - move(problem.gradient(point) * 2.0**-rate), -1, 1)


def _nothing() -> None:
    pass


def gradient_descent(problem: Problem, setting: Setting, rng: np.random.Generator) -> None:
    """Follow the gradient."""
    _descend(problem, setting["rate"], lambda step: step, _nothing)


def _quantized(vanish: bool) -> Method:
    def method(problem: Problem, setting: Setting, rng: np.random.Generator) -> None:
        policy = Band(n=problem.dimension, vanish=vanish)
        policy.bind(None)
        _descend(problem, setting["rate"], lambda step: quantized_step(step, policy), policy.step)

    return method


def annealed_noise(problem: Problem, setting: Setting, rng: np.random.Generator) -> None:
    """Add Gaussian noise of the variance 1 / (12 Q_p^2), with the schedule of `Band`."""
    policy = Band(n=problem.dimension, vanish=False)
    policy.bind(None)

    def move(step: Point) -> Point:
        deviation = 1 / (np.sqrt(12) * policy.Q_p)
        return np.asarray(step + rng.normal(0, deviation, len(step)))

    _descend(problem, setting["rate"], move, policy.step)


def langevin(problem: Problem, setting: Setting, rng: np.random.Generator) -> None:
    """Add Gaussian noise of the variance 2 lambda T, with a constant temperature T."""
    deviation = np.sqrt(2 * 2.0 ** -setting["rate"] * setting["temperature"])

    def move(step: Point) -> Point:
        return np.asarray(step + rng.normal(0, deviation, len(step)))

    _descend(problem, setting["rate"], move, _nothing)


def dual_annealing(problem: Problem, setting: Setting, rng: np.random.Generator) -> None:
    """Run SciPy's generalized simulated annealing with local searches, again and again."""
    from scipy import optimize

    local = {"method": "L-BFGS-B", "jac": problem.gradient, "bounds": _bounds(problem)}
    start = problem.start()
    while True:
        optimize.dual_annealing(
            problem.value,
            _bounds(problem),
            maxiter=10**6,
            maxfun=10**9,
            minimizer_kwargs=local,
            initial_temp=setting["temperature"],
            rng=rng,
            x0=start,
        )
        start = rng.uniform(-1, 1, problem.dimension)


def basinhopping(problem: Problem, setting: Setting, rng: np.random.Generator) -> None:
    """Run SciPy's hops from one local minimum to another."""
    from scipy import optimize

    local = {"method": "L-BFGS-B", "jac": problem.gradient, "bounds": _bounds(problem)}
    start = problem.start()
    while True:
        optimize.basinhopping(
            problem.value,
            start,
            niter=10**6,
            T=1.0,
            stepsize=setting["stepsize"],
            minimizer_kwargs=local,
            rng=rng,
        )
        start = rng.uniform(-1, 1, problem.dimension)


def _bounds(problem: Problem) -> list[tuple[float, float]]:
    return [(-1.0, 1.0)] * problem.dimension


METHODS: dict[str, tuple[Method, tuple[Setting, ...]]] = {
    "Band": (_quantized(True), tuple({"rate": k} for k in RATES)),
    "Band, no vanish": (_quantized(False), tuple({"rate": k} for k in RATES)),
    "gradient descent": (gradient_descent, tuple({"rate": k} for k in RATES)),
    "annealed noise": (annealed_noise, tuple({"rate": k} for k in RATES)),
    "SGLD": (
        langevin,
        tuple(
            {"rate": k, "temperature": temperature}
            for k, temperature in ((3, 0.1), (3, 0.01), (6, 0.1), (6, 0.01), (6, 0.001))
        ),
    ),
    "dual annealing": (
        dual_annealing,
        tuple({"temperature": t} for t in (5.0, 50.0, 500.0, 5230.0, 50000.0)),
    ),
    "basin hopping": (
        basinhopping,
        tuple({"stepsize": size} for size in (0.05, 0.1, 0.2, 0.5, 1.0)),
    ),
}
"""Methods and their settings."""
QUANTIZED = ("Band", "Band, no vanish")


def search(problem: Problem, method: str, setting: Setting) -> None:
    """Look for the minimum of a problem until its evaluations are spent."""
    function, _ = METHODS[method]
    rng = np.random.default_rng([problem.seed, 2])
    with suppress(SpentError):
        function(problem, setting, rng)
