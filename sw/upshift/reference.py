"""The exact integer model of the update unit: integers in, integers out.

This is the specification that the gateware is compared with. For a weight W in Fixed(B, F), a
gradient of value g, a rate exponent k and a resolution q,

    D  = floor(2**(q-k) * g + 1/2)
    W' = clamp(W - D * 2**(F-q), -2**(B-1), 2**(B-1) - 1)

D * 2**(F-q) is the aligned gradient rounded to a multiple of 2**(F-q), so the gradient is
aligned once, to one bit below the weight's point, saturated to B+2 bits, rounded by adding half
a step and clearing the bits below it, and subtracted. floor(x + 1/2) needs nothing below the
half bit, so the floor taken by the alignment loses nothing; and B+2 bits hold every step that
does not clamp anyway.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from upshift import layout
from upshift.config import UnitConfig
from upshift.formats import Fixed, Float, Raw
from upshift.layout import Operation
from upshift.report import Refusal, UpdateReport

__all__ = ["Command", "Unit", "UpdateReport", "check_rate", "check_resolution", "step"]


@dataclass(frozen=True)
class _Aligned:
    steps: Raw
    """floor(g * 2**(F+1-k)), saturated to B+2 bits."""
    finite: NDArray[np.bool_]
    needed: int | None
    """q_min."""


def step(
    weights: ArrayLike,
    gradients: ArrayLike,
    *,
    config: UnitConfig,
    rate: int,
    resolution: int,
) -> tuple[Raw, UpdateReport]:
    """Update raw weights by one burst.

    Parameters
    ----------
    weights : array_like of int, any shape
        Raw weights in ``config.weight``. Not changed.
    gradients : array_like of int, same shape
        Raw words in ``config.gradient``.
    config : UnitConfig
    rate : int
        k of the learning rate 2**-k, 0 to ``config.max_rate``.
    resolution : int
        q, 0 to ``config.max_resolution``.

    Returns
    -------
    weights : ndarray of int64
    report : UpdateReport

    Raises
    ------
    TypeError
        If weights or gradients are not of an integer dtype.
    ValueError
        If shapes differ or a number lies outside its range.

    Notes
    -----
    Seok & Kim, arXiv 2112.13006, eq. (1) and (4), on raw integers.
    """
    old = config.weight.check(weights)
    words = config.gradient.check(gradients)
    if old.shape != words.shape:
        raise ValueError(
            f"weights of shape {old.shape} and gradients of shape {words.shape} differ"
        )
    rate, resolution = check_rate(config, rate), check_resolution(config, resolution)

    if isinstance(config.gradient, Fixed):
        aligned = _align_fixed(words, config.weight, config.gradient, rate)
    else:
        aligned = _align_float(words, config.weight, config.gradient, rate)

    half = 1 << (config.weight.fraction - resolution)
    rounded = np.where(aligned.finite, (aligned.steps + half) & -2 * half, 0)  # 2 D 2**(F-q)
    exact = old - (rounded >> 1)
    new = np.clip(exact, config.weight.min, config.weight.max)
    return new, UpdateReport(
        elements=words.size,
        nonzero=int(np.count_nonzero(rounded)),
        saturated=int(np.count_nonzero(new != exact)),
        nonfinite=int(np.count_nonzero(~aligned.finite)),
        clipped=0,
        resolution_needed=aligned.needed,
    )


@dataclass(frozen=True)
class Command:
    """One command to a unit, as its command port takes it; ranges are not checked here."""

    operation: Operation
    base: int = 0
    count: int = 0
    rate: int = 0
    resolution: int = 0

    def fields(self) -> dict[str, int]:
        """Return the values of the command's fields, for `upshift.layout.pack`."""
        return {name: int(value) for name, value in vars(self).items()}


class Unit:
    """The whole unit without its clock: commands in, reports out, refusals included.

    Parameters
    ----------
    config : UnitConfig

    Attributes
    ----------
    weights : ndarray of int64, shape (depth,)
        Raw weights, zero at first.
    floor : int
        Lowest resolution that is accepted.
    """

    def __init__(self, config: UnitConfig):
        self.config = config
        self.weights = np.zeros(config.depth, np.int64)
        self.floor = 0

    def refusal(self, command: Command) -> Refusal:
        """Return why the unit refuses `command`; zero if it does not."""
        config = self.config
        refusal = Refusal(0)
        if command.resolution < self.floor:
            refusal |= Refusal.FLOOR
        if command.resolution > config.max_resolution:
            refusal |= Refusal.FRACTION
        if command.operation == Operation.UPDATE:
            if command.rate > config.max_rate:
                refusal |= Refusal.RATE
            if not command.count:
                refusal |= Refusal.COUNT
            elif command.base + command.count > config.depth:
                refusal |= Refusal.RANGE
        return refusal

    def execute(self, command: Command, gradients: ArrayLike) -> dict[str, int]:
        """Execute one command and return the fields of its report.

        Parameters
        ----------
        command : Command
        gradients : array_like of int, shape (command.count,)
            Raw words; ignored unless the command updates and is accepted.

        Returns
        -------
        dict
            Values of the fields of `upshift.layout.report`.
        """
        fields = {field.name: 0 for field in layout.report(self.config)}
        refusal = self.refusal(command)
        if refusal:
            return fields | {"refusal": int(refusal)}
        if command.operation == Operation.RAISE:
            self.floor = command.resolution
            return fields
        weights = self.weights[command.base : command.base + command.count]
        weights[:], report = step(
            weights,
            gradients,
            config=self.config,
            rate=command.rate,
            resolution=command.resolution,
        )
        return fields | {
            "elements": report.elements,
            "nonzero": report.nonzero,
            "saturated": report.saturated,
            "nonfinite": report.nonfinite,
            "needed_valid": int(report.resolution_needed is not None),
            "needed": report.resolution_needed or 0,
        }


def check_rate(config: UnitConfig, rate: SupportsIndex) -> int:
    """Return `rate` as an int; raise unless it is an exponent that the unit takes."""
    rate = operator.index(rate)
    if not 0 <= rate <= config.max_rate:
        raise ValueError(f"rate exponent {rate} is not allowed: 0 to {config.max_rate}")
    return rate


def check_resolution(config: UnitConfig, resolution: SupportsIndex) -> int:
    """Return `resolution` as an int; raise unless it is one that the weights can hold."""
    resolution = operator.index(resolution)
    if not 0 <= resolution <= config.max_resolution:
        raise ValueError(
            f"resolution {resolution} is not allowed: "
            f"0 to the weights' {config.max_resolution} fraction bits"
        )
    return resolution


def _align_fixed(words: Raw, weight: Fixed, gradient: Fixed, rate: int) -> _Aligned:
    left = weight.fraction + 1 - gradient.fraction - rate
    if left >= 0:
        steps = _shift_left_saturating(words, left, weight)
    else:
        steps = _saturate(words >> min(-left, 63), weight)
    # 2G xor sign(G): ties of negative steps round to zero, those of positive ones do not.
    magnitude = int(np.bitwise_or.reduce((words << 1) ^ (words >> 63), axis=None))
    needed = rate + gradient.fraction - (magnitude.bit_length() - 1) if magnitude else None
    return _Aligned(steps, np.ones(words.shape, np.bool_), needed)


def _align_float(words: Raw, weight: Fixed, gradient: Float, rate: int) -> _Aligned:
    mantissa_bits, bias = gradient.mantissa, gradient.BIAS
    negative = words >> (gradient.width - 1) != 0
    exponent = (words >> mantissa_bits) & 0xFF
    finite = exponent != 0xFF
    mantissa = words & ((1 << mantissa_bits) - 1)
    mantissa = np.where(exponent > 0, mantissa | (1 << mantissa_bits), mantissa)
    mantissa = np.where(finite, mantissa, 0)
    # |g| = mantissa * 2**scale
    scale = np.maximum(exponent, 1) - bias - mantissa_bits
    signed = np.where(negative, -mantissa, mantissa)
    left = scale + weight.fraction + 1 - rate
    steps = np.where(
        left >= 0,
        _shift_left_saturating(signed, np.clip(left, 0, 63), weight),
        _saturate(signed >> np.clip(-left, 0, 63), weight),
    )

    # floor(log2 2|g|), less 1 for negative powers of two; a mantissa is an exact float64.
    log = np.frexp(mantissa.astype(np.float64))[1] + scale
    log = log - (negative & (mantissa & (mantissa - 1) == 0))
    log = log[mantissa != 0]
    return _Aligned(steps, finite, rate - int(log.max()) if log.size else None)


def _saturate(steps: Raw, weight: Fixed) -> Raw:
    limit = 1 << (weight.width + 1)
    return np.clip(steps, -limit, limit - 1)


def _shift_left_saturating(words: Raw, left: int | Raw, weight: Fixed) -> Raw:
    """Return ``words << left`` saturated to B+2 bits, without overflowing an int64."""
    limit = 1 << (weight.width + 1)
    high = np.right_shift(limit - 1, left)
    low = -np.right_shift(limit, left)
    inside = np.clip(words, low, high) << np.minimum(left, weight.width + 1)
    return np.where(words > high, limit - 1, np.where(words < low, -limit, inside))
