"""What an update unit says about one burst."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Refusal(enum.IntFlag):
    """Why a unit refused a command: one bit per cause, several may be set."""

    FLOOR = 1
    """The resolution lies below the unit's floor."""
    FRACTION = 2
    """The resolution exceeds the weights' fraction bits."""
    RATE = 4
    """The rate exponent exceeds the configuration's max_rate."""
    COUNT = 8
    """The burst has no elements."""
    RANGE = 16
    """The burst reaches outside the memory."""


class UpdateReport(NamedTuple):
    """The exact counts of one burst.

    Attributes
    ----------
    elements : int
        Elements of the burst, non-finite ones included.
    nonzero : int
        Finite elements whose quantized step is not zero, even where saturation kept the weight.
    saturated : int
        Weights that were clamped to the end of their format.
    nonfinite : int
        Gradients that were infinite or NaN; their weights stayed as they were.
    clipped : int
        Gradient values that their format could not hold (0 when raw words were given).
    resolution_needed : int or None
        q_min, the smallest resolution at which some step is not zero, unclipped; None when
        every finite gradient is zero.
    """

    elements: int
    nonzero: int
    saturated: int
    nonfinite: int
    clipped: int
    resolution_needed: int | None
