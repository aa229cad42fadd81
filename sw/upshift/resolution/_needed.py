"""The smallest resolution at which a step would not vanish, in closed form."""

from __future__ import annotations

import math


def resolution_needed(low: float, high: float, rate: int = 0) -> int | None:
    """Return q_min, the smallest q at which some element of a step is not zero.

    The quantized step of ``2**-rate * h`` is non-zero where it reaches half a grid step, and for
    negative elements exceeds it, because ties round up. Both conditions are monotone in the
    magnitude, so the extremes of h decide. This is the closed form of the paper's loop "while
    the quantized vector is zero, raise q" (arXiv 2112.13006, Algorithm 1, first auxiliary
    procedure).

    Parameters
    ----------
    low, high : float
        Smallest and largest element of h, finite.
    rate : int
        k of the learning rate 2**-k; 0 if the bounds are those of lambda * h already.

    Returns
    -------
    int or None
        q_min, not clipped to any range; None if every element is zero, where the literal loop
        would run to its limit.
    """
    needed = []
    if high > 0:
        needed.append(rate - math.frexp(high)[1])
    if low < 0:
        mantissa, exponent = math.frexp(-low)
        needed.append(rate - exponent + (mantissa == 0.5))
    return min(needed, default=None)
