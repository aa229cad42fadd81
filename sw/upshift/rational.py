"""The learning equation on exact rationals: the definition, too slow to train with.

Nothing here is shared with the integer model, the torch form or the gateware, so that a mistake
in one of them cannot hide in it.
"""

from __future__ import annotations

import math
from fractions import Fraction

from upshift.formats import Fixed


def quantize(x: Fraction, resolution: int) -> Fraction:
    """Return Q(x) = floor(2**q x + 1/2) / 2**q."""
    scale = Fraction(2) ** resolution
    return math.floor(scale * x + Fraction(1, 2)) / scale


def step(
    weight: Fraction, gradient: Fraction, *, rate: int, resolution: int, fmt: Fixed
) -> tuple[Fraction, bool, bool]:
    """Update one weight.

    Parameters
    ----------
    weight, gradient : Fraction
        Values, not raw words.
    rate : int
        k of the learning rate 2**-k.
    resolution : int
        q.
    fmt : Fixed
        Format of the weight.

    Returns
    -------
    weight : Fraction
    nonzero : bool
        The quantized step is not zero.
    saturated : bool
        The weight was clamped.
    """
    quantized = quantize(gradient / 2**rate, resolution)
    exact = weight - quantized
    ulp = Fraction(1, 2**fmt.fraction)
    clamped = min(max(exact, fmt.min * ulp), fmt.max * ulp)
    return clamped, quantized != 0, clamped != exact


def needed(gradients: list[Fraction], rate: int, highest: int) -> int | None:
    """Return q_min by the paper's loop: raise q until some step is not zero.

    The loop starts at ``-highest`` and gives up beyond `highest`; None if it does.
    """
    for resolution in range(-highest, highest + 1):
        if any(quantize(g / 2**rate, resolution) for g in gradients):
            return resolution
    return None
