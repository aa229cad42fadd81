"""The error of quantization on real iterates, and what a window of it looks like.

An error is given in grid steps, ``u = 2^q (Q(s) - s)`` for a step s, and lies in (-1/2, 1/2]. The
hypothesis of the theory is that u is uniform, has no mean, is independent of the step s, and is
white: independent from one step to the next. Each number here is made so that it says the same for
a long and for a short window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from upshift.formats import round_half_up

Series = NDArray[np.float64]

BINS = 16
LAGS = (1, 2, 4, 8)
UNEVEN, COLOURED, CORRELATED = 0.1, 0.9, 0.1
"""From where on an effect, a flatness and a correlation speak against the hypothesis."""


@dataclass(frozen=True)
class Errors:
    """What one tensor's quantizer did in some steps.

    Attributes
    ----------
    error : array of shape (steps, elements)
        In grid steps.
    moved : array of bool, same shape
        Where the quantized step was not zero.
    signal : array, same shape
        The steps before quantization.
    """

    error: Series
    moved: NDArray[np.bool_]
    signal: Series


def quantize(step: Series, q: int) -> tuple[Series, NDArray[np.bool_]]:
    """Return error and whether it moved, for steps at a resolution."""
    scaled = np.asarray(step, np.float64) * 2.0**q
    units = round_half_up(scaled)
    return units - scaled, units != 0


def histogram(error: Series) -> NDArray[np.int64]:
    """Return how many errors lie in each of `BINS` equal parts of (-1/2, 1/2]."""
    part = np.ceil((error + 0.5) * BINS).astype(np.int64) - 1
    return np.bincount(part.clip(0, BINS - 1).ravel(), minlength=BINS)


def chi_square(counts: NDArray[np.int64]) -> float:
    """Return the chi-square of counts against equal ones; 0 without any."""
    expected = counts.sum() / len(counts)
    return float(((counts - expected) ** 2).sum() / expected) if expected else 0.0


def effect(counts: NDArray[np.int64]) -> float:
    """Return Cohen's w: how far from uniform, whatever the number of observations.

    What chance alone brings, in the mean, is taken off. 0.1 is called small, 0.3 medium, 0.5
    large; with all in one of 16 parts it is 3.9.
    """
    n = int(counts.sum())
    excess = chi_square(counts) - (len(counts) - 1)
    return math.sqrt(max(0.0, excess) / n) if n else 0.0


def variance(error: Series) -> float:
    """Return the mean square in units of the uniform one, 1/12."""
    return 12 * float(np.mean(error**2)) if error.size else 0.0


def correlation(error: Series, signal: Series) -> float | None:
    """Return the correlation of errors with what is quantized, about zero; None without any.

    Where steps vanish, the error is the step with its sign turned, and this is -1.
    """
    power = math.sqrt(float((error**2).sum()) * float((signal**2).sum()))
    return float((error * signal).sum()) / power if power else None


def flatness(error: Series) -> float | None:
    """Return the flatness of the mean spectrum over the elements; 1 if white.

    That is the geometric mean of the power over its arithmetic mean, without the power at zero
    frequency, corrected for what chance brings. None if nothing varies.
    """
    steps, elements = error.shape
    power = (np.abs(np.fft.rfft(error, axis=0)) ** 2).mean(axis=1)[1 : (steps + 1) // 2]
    if not power.size or not power.min() > 0:
        return None
    chance = float(special.digamma(elements)) - math.log(elements)
    return float(math.exp(np.log(power).mean() - chance) / power.mean())


def flatness_moved(errors: Errors) -> float | None:
    """Return the same over the elements that moved in every step; None without any."""
    always = errors.moved.all(axis=0)
    return flatness(errors.error[:, always]) if always.any() else None


def autocorrelation(series: Series, lag: int) -> float | None:
    """Return the correlation between steps, about zero; None if all are zero."""
    power = float((series**2).mean())
    if not power or lag >= len(series):
        return None
    return float((series[:-lag] * series[lag:]).mean()) / power


def autocorrelation_moved(errors: Errors, lag: int) -> float | None:
    """Return the same over pairs of steps of which both moved the weight; None without any."""
    both = errors.moved[:-lag] & errors.moved[lag:]
    early, late = errors.error[:-lag][both], errors.error[lag:][both]
    return correlation(early, late)
