"""The few statistics that the experiments use, each by one function.

Samples are small, so intervals are Student's or Wilson's, and comparisons are paired by seed.
Where several hypotheses are tested, `holm` keeps the chance of any false one at the level. That
no difference was found is no finding; `equivalence` tests that there is none worth the name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.05


@dataclass(frozen=True)
class Mean:
    """A mean with its deviation and its confidence interval.

    Attributes
    ----------
    n : int
    mean, deviation : float
        The deviation is that of the sample, with n - 1.
    low, high : float
        Two-sided interval of the mean at 95 %.
    p : float
        Of Student's two-sided test that the mean is zero.
    """

    n: int
    mean: float
    deviation: float
    low: float
    high: float
    p: float


def mean(values: Sequence[float]) -> Mean:
    """Return the mean of two or more finite numbers."""
    centre, deviation, error, n = _moments(values)
    margin = float(stats.t.ppf(1 - LEVEL / 2, n - 1)) * error
    p = float(2 * stats.t.sf(abs(_ratio(centre, error)), n - 1))
    return Mean(n, centre, deviation, centre - margin, centre + margin, p)


def paired(a: Sequence[float], b: Sequence[float]) -> Mean:
    """Return the mean of the differences a - b of values that belong together."""
    return mean([x - y for x, y in zip(a, b, strict=True)])


@dataclass(frozen=True)
class Equivalence:
    """Whether a mean difference is smaller than a margin, by two one-sided tests.

    Attributes
    ----------
    margin : float
    low, high : float
        Two-sided interval at 90 %; inside the margin exactly if `p` is below 5 %.
    p : float
        The larger of the two one-sided p.
    equivalent : bool
        Whether p is below 5 %.
    """

    margin: float
    low: float
    high: float
    p: float
    equivalent: bool


def equivalence(differences: Sequence[float], margin: float) -> Equivalence:
    """Test that a mean lies within -margin to margin (Schuirmann's two one-sided tests)."""
    if not 0 < margin < math.inf:
        raise ValueError(f"margin {margin} is not allowed: a positive number")
    centre, _, error, n = _moments(differences)
    above = float(stats.t.sf(_ratio(centre + margin, error), n - 1))
    below = float(stats.t.cdf(_ratio(centre - margin, error), n - 1))
    reach = float(stats.t.ppf(1 - LEVEL, n - 1)) * error
    p = max(above, below)
    return Equivalence(margin, centre - reach, centre + reach, p, p < LEVEL)


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number by Holm's method, in the order given."""
    adjusted = [0.0] * len(p)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = largest
    return adjusted


def share(successes: int, trials: int) -> tuple[float, float, float]:
    """Return a share of successes and its 95 % interval (Wilson's)."""
    if not 0 <= successes <= trials or not trials:
        raise ValueError(f"{successes} of {trials} is not allowed: successes of one trial or more")
    z = float(stats.norm.ppf(1 - LEVEL / 2))
    found = successes / trials
    scale = 1 + z * z / trials
    centre = (found + z * z / (2 * trials)) / scale
    reach = z / scale * math.sqrt(found * (1 - found) / trials + z * z / (4 * trials**2))
    return found, max(0.0, centre - reach), min(1.0, centre + reach)


def discordant(a: Sequence[bool], b: Sequence[bool]) -> float:
    """Return the p of McNemar's exact test that paired successes are equally frequent."""
    only_a = sum(x and not y for x, y in zip(a, b, strict=True))
    only_b = sum(y and not x for x, y in zip(a, b, strict=True))
    if only_a + only_b == 0:
        return 1.0
    return float(stats.binomtest(only_a, only_a + only_b).pvalue)


def _moments(values: Sequence[float]) -> tuple[float, float, float, int]:
    """Return mean, deviation, standard error and number."""
    n = len(values)
    if n < 2:
        raise ValueError(f"{n} values are not allowed: two or more, for a deviation")
    numbers = np.asarray(values, float)
    if not np.isfinite(numbers).all():
        raise ValueError("values that are not finite have no mean")
    deviation = float(numbers.std(ddof=1))
    return float(numbers.mean()), deviation, deviation / math.sqrt(n), n


def _ratio(distance: float, error: float) -> float:
    """Return a distance in standard errors; infinite where nothing varies."""
    if error:
        return distance / error
    return math.copysign(math.inf, distance) if distance else 0.0
