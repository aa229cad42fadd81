"""Every weight with every gradient at every rate and resolution of a small unit, in compiled RTL.

What must come of them is computed here from the equation itself, D = floor(2**(q-k) g + 1/2), on
integers that hold it without any rounding or saturation. Nothing is shared with the integer
model, whose alignment is that of the gateware.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upshift.config import UnitConfig
from upshift.formats import Fixed, Raw
from upshift.report import UpdateReport
from upshift_sim.rtl import RtlDevice

WIDEST = 8
"""Bits of a weight or a gradient up to which all pairs of them are few enough."""


@dataclass(frozen=True)
class Exhausted:
    """What was compared.

    Attributes
    ----------
    updates, bursts : int
        Weights and reports.
    failure : str
        The first difference; empty if there is none.
    """

    updates: int
    bursts: int
    failure: str


def pairs(weight: Fixed, gradient: Fixed) -> tuple[Raw, Raw]:
    """Return all pairs of raw weights and gradients; a row has all weights and one gradient."""
    weights = np.arange(weight.min, weight.max + 1)
    gradients = np.arange(gradient.min, gradient.max + 1)
    rows = np.meshgrid(weights, gradients)
    return rows[0], rows[1]


def expected(
    weights: Raw, gradients: Raw, *, weight: Fixed, gradient: Fixed, rate: int, resolution: int
) -> tuple[Raw, Raw, Raw]:
    """Return new weights, and where steps are not zero and where weights are clamped.

    Parameters
    ----------
    weights, gradients : ndarray of int64, same shape
        Raw words.
    weight, gradient : Fixed
    rate, resolution : int
        k and q; ``k + resolution + width`` of the gradient may not exceed 60.
    """
    # 2**(q-k) g + 1/2 = (2**(q+1) G + 2**(k+Fg)) / 2**(k+Fg+1)
    point = rate + gradient.fraction
    steps = ((gradients << (resolution + 1)) + (1 << point)) >> (point + 1)
    exact = weights - (steps << (weight.fraction - resolution))
    new = np.clip(exact, weight.min, weight.max)
    return new, steps != 0, new != exact


def first_resolution(word: int, gradient: Fixed, rate: int) -> int | None:
    """Return the lowest q, negative ones included, at which a gradient's step is not zero."""
    half = 1 << (64 + rate + gradient.fraction)
    for resolution in range(-63, 64):
        # floor(x + 1/2) is zero from -1/2 to just below 1/2, and x has 64 more bits here.
        if not -half <= word << (64 + resolution + 1) < half:
            return resolution
    return None


def exhaust(config: UnitConfig, *, fault: int | None = None) -> Exhausted:
    """Run all pairs at all rates and resolutions, a burst for each gradient.

    Parameters
    ----------
    config : UnitConfig
        Fixed-point, `WIDEST` bits or less, and as many weights as there are pairs.
    fault : int, optional
        Seed of a one-bit fault in the unit.
    """
    weight, gradient = config.weight, config.gradient
    if not isinstance(gradient, Fixed) or max(weight.width, gradient.width) > WIDEST:
        raise ValueError(f"{weight} with {gradient} has too many pairs: up to {WIDEST} bits each")
    weights, gradients = pairs(weight, gradient)
    if config.depth != weights.size:
        raise ValueError(f"depth {config.depth} is not the number of pairs, {weights.size}")
    updates = bursts = 0
    with RtlDevice(config, fault=fault) as device:
        for rate in range(config.max_rate + 1):
            needed = [first_resolution(word, gradient, rate) for word in gradients[:, 0].tolist()]
            for resolution in range(config.max_resolution + 1):
                device.write(0, weights.ravel())
                pending = [
                    device.submit(base, row, rate=rate, resolution=resolution)
                    for base, row in zip(
                        range(0, weights.size, weights.shape[1]), gradients, strict=True
                    )
                ]
                reports = [burst.result() for burst in pending]
                found = device.read(0, config.depth).reshape(weights.shape)
                failure = _difference(
                    config, found, reports, needed, rate=rate, resolution=resolution
                )
                updates, bursts = updates + weights.size, bursts + len(reports)
                if failure:
                    return Exhausted(updates, bursts, failure)
    return Exhausted(updates, bursts, "")


def _difference(
    config: UnitConfig,
    found: Raw,
    reports: list[UpdateReport],
    needed: list[int | None],
    *,
    rate: int,
    resolution: int,
) -> str:
    """Return the first difference of one rate and resolution."""
    weight, gradient = config.weight, config.gradient
    assert isinstance(gradient, Fixed)
    weights, gradients = pairs(weight, gradient)
    new, nonzero, saturated = expected(
        weights, gradients, weight=weight, gradient=gradient, rate=rate, resolution=resolution
    )
    at = f"rate {rate}, resolution {resolution}"
    for row, lane in np.argwhere(found != new):
        return (
            f"{at}: weight {weights[row, lane]} with gradient {gradients[row, lane]} "
            f"becomes {found[row, lane]} instead of {new[row, lane]}"
        )
    counts = zip(nonzero.sum(axis=1).tolist(), saturated.sum(axis=1).tolist(), needed, strict=True)
    for row, (report, (steps, clamped, resolution_needed)) in enumerate(
        zip(reports, counts, strict=True)
    ):
        right = UpdateReport(weights.shape[1], steps, clamped, 0, 0, resolution_needed)
        if report != right:
            return f"{at}: gradient {gradients[row, 0]} gives {report} instead of {right}"
    return ""
