"""The learning equation in torch, exact on float32 and float64 tensors.

    w[t+1] = w[t] - Q(lambda * h),    Q(x) = floor(2**q x + 1/2) / 2**q

Ties round towards plus infinity, which torch's own rounding does not do, and the sum
``x + 1/2`` is never formed, because it rounds. With fixed-point weights in range and on their
grid every operation here is exact, so the result equals the integer model bit for bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from upshift import rates
from upshift.formats import Fixed, Float, Format, float32
from upshift.report import UpdateReport
from upshift.resolution import Rule, resolution_needed

_PLAIN = Rule()
_SIGNIFICANT_BITS = {torch.float32: 24, torch.float64: 53}


def widest_fixed(dtype: torch.dtype) -> int:
    """Return the width, sign included, up to which `dtype` holds every fixed-point number.

    Raises
    ------
    TypeError
        If the dtype is neither float32 nor float64.
    """
    if dtype not in _SIGNIFICANT_BITS:
        raise TypeError(f"{dtype} is not allowed: torch.float32 or torch.float64")
    return _SIGNIFICANT_BITS[dtype] + 1


def _round_half_up(x: Tensor) -> Tensor:
    floor = x.floor()
    return floor + (x - floor >= 0.5)


def _round(x: Tensor, rule: Rule) -> Tensor:
    if rule.rounding == "half up":
        return _round_half_up(x)
    return x.ceil() if rule.rounding == "up" else -_round_half_up(-x)


def quantize(x: Tensor, resolution: int, rule: Rule = _PLAIN) -> Tensor:
    """Return Q(x) = floor(2**q x + 1/2) / 2**q, element-wise and exact.

    Parameters
    ----------
    x : Tensor of float32 or float64, any shape
    resolution : int
        q, 0 to 64 where eta is 1.
    rule : Rule, optional
        Another rounding and scale. If the scale eta is not 1, ``Q_p * x`` and the quotient are
        rounded in float64, and the result once more to the dtype of `x`.

    Returns
    -------
    Tensor
        Of the shape and dtype of `x`. Infinities and NaN stay what they are.

    Notes
    -----
    Seok & Kim, arXiv 2112.13006, eq. (1) with Q_p = 2**q.
    """
    if x.dtype not in _SIGNIFICANT_BITS:
        raise TypeError(f"{x.dtype} is not allowed: torch.float32 or torch.float64")
    if rule.eta != 1.0:
        grid = x.new_full((), rule.eta * 2.0**resolution, dtype=torch.float64)
        scaled = x.double() * grid
        rounded = (_round(scaled, rule) / grid).to(x.dtype)
    else:
        if not 0 <= resolution <= 64:
            raise ValueError(f"resolution {resolution} is not allowed: 0 to 64")
        scaled = x * 2.0**resolution
        rounded = _round(scaled, rule) * 2.0**-resolution
    # Where scaling overflows, x is a multiple of the grid step many times over.
    return torch.where(scaled.isfinite(), rounded, x)


def total(steps: Tensor, resolution: int, rule: Rule = _PLAIN) -> int:
    """Return the exact sum of the quantized steps, in units of 2**-q.

    Parameters
    ----------
    steps : Tensor of float32 or float64, any shape
        Infinite ones are left out.
    resolution : int
        q.
    rule : Rule, optional
        Its rounding; eta has to be 1.
    """
    units = _round(steps.double() * 2.0**resolution, rule)
    if not units.numel():
        return 0
    if float(units.abs().max()) * units.numel() < 2.0**62:
        return int(units.long().sum())
    # Where scaling overflows, the step is an integer.
    each = zip(units.ravel().tolist(), steps.ravel().tolist(), strict=True)
    return sum(
        int(unit) if math.isfinite(unit) else int(step) << resolution
        for unit, step in each
        if math.isfinite(step)
    )


def push(h: Tensor, length: float) -> Tensor:
    """Return h + length * h / norm(h), or h where that is zero.

    Parameters
    ----------
    h : Tensor of float32 or float64, any shape
        Finite.
    length : float
        Not negative.
    """
    peak = h.abs().max() if length and h.numel() else None
    if peak is None or not bool(peak):
        return h
    unit = h / peak  # keeps squares from overflow and underflow
    unit /= torch.linalg.vector_norm(unit, dtype=torch.float64).to(h.dtype)
    return h + unit.mul_(length)


def encode(values: Tensor, fmt: Format) -> tuple[Tensor, int]:
    """Return what `fmt` makes of finite `values`, and how many it could not hold.

    Parameters
    ----------
    values : Tensor of float32 or float64, any shape
    fmt : Fixed, bfloat16 or float32
        Fixed formats saturate, float formats overflow to infinity.

    Returns
    -------
    Tensor
        Of the shape of `values`; float64 where the format is wider than the dtype of `values`
        can hold, else of that dtype.
    clipped : int
    """
    if isinstance(fmt, Fixed):
        if fmt.width > widest_fixed(torch.float64):
            raise ValueError(f"format {fmt} is too wide for torch: up to 54 bits allowed")
        if fmt.width > widest_fixed(values.dtype):
            values = values.double()
        rounded = quantize(values, fmt.fraction)
        inside = rounded.clamp(fmt.min * 2.0**-fmt.fraction, fmt.max * 2.0**-fmt.fraction)
        return inside, int(torch.count_nonzero(inside != rounded))
    if values.dtype == torch.float32:
        encoded = values if fmt == float32 else values.bfloat16().float()
    elif fmt == float32:
        encoded = values.float().double()
    else:
        encoded = _to_bfloat16(values, fmt)
    return encoded, int(torch.count_nonzero(encoded.isinf() & values.isfinite()))


def _to_bfloat16(values: Tensor, fmt: Float) -> Tensor:
    """Round float64 once; torch would go through float32 and round twice."""
    raw = fmt.encode(values.cpu().numpy())
    return torch.from_numpy(fmt.decode(raw)).to(values.device)


@dataclass(frozen=True)
class Scaled:
    """lambda * h of one tensor, ready to be quantized.

    Attributes
    ----------
    steps : Tensor
        lambda times the encoded h; zero where h is not finite.
    nonfinite : int
        Elements that are not finite.
    clipped : int
        Elements that the gradient format could not hold.
    needed : int or None
        q_min of the equation that devices follow, whatever rule is then applied.
    """

    steps: Tensor
    nonfinite: int
    clipped: int
    needed: int | None


def scale(h: Tensor, lr: float, gradient: Format | None = None) -> Scaled:
    """Encode h and multiply it by the learning rate.

    With lr = 2**-k the product is exact; otherwise it is rounded once, in the dtype of h.

    Parameters
    ----------
    h : Tensor of float32 or float64, any shape
        Directional derivative.
    lr : float
        Learning rate lambda, positive.
    gradient : Format, optional
        Format to encode h in; None takes h as it is.
    """
    finite = h.isfinite()
    clean = h if bool(finite.all()) else torch.where(finite, h, 0.0)
    clipped = 0
    if gradient is not None:
        clean, clipped = encode(clean, gradient)
        finite = finite & clean.isfinite()
        clean = torch.where(clean.isfinite(), clean, 0.0)
    steps = clean * lr
    lowest = None
    if clean.numel():
        low, high = torch.aminmax(clean)
        lowest = needed(float(low), float(high), lr, clean.dtype)
    return Scaled(steps, int(torch.count_nonzero(~finite)), clipped, lowest)


def needed(low: float, high: float, lr: float, dtype: torch.dtype) -> int | None:
    """Return q_min of a step from the smallest and the largest element of the encoded h.

    Parameters
    ----------
    low, high : float
        Finite.
    lr : float
        Learning rate lambda, positive.
    dtype : torch.dtype
        In which lambda h is rounded, unless lambda is a power of two.
    """
    k = rates.exponent(lr)
    if k is None:
        low, high = (torch.tensor((low, high), dtype=dtype) * lr).tolist()
    return resolution_needed(low, high, k or 0)


def apply(
    w: Tensor,
    scaled: Scaled,
    resolution: int,
    weight: Fixed | None = None,
    rule: Rule = _PLAIN,
) -> tuple[Tensor, UpdateReport]:
    """Return w - Q(lambda h), saturated to the weights' format, and the counts.

    Parameters
    ----------
    w : Tensor of float32 or float64, any shape
        On the grid of `weight`, if that is given. Not changed.
    scaled : Scaled
    resolution : int
        q; at most the fraction bits of `weight`, else ValueError.
    weight : Fixed, optional
        Format of the weights; None subtracts in floating point.
    rule : Rule, optional
        How the step is quantized, where it is not as on a device; floating-point weights only if
        its eta is not 1.
    """
    if weight is not None and resolution > weight.fraction:
        raise ValueError(
            f"resolution {resolution} exceeds the weights' {weight.fraction} fraction bits"
        )
    step = quantize(scaled.steps, resolution, rule)
    nonzero = int(torch.count_nonzero(step))
    if weight is None:
        new, saturated = w - step.to(w.dtype), 0
    else:
        exact = w - step
        new = exact.clamp(weight.min * 2.0**-weight.fraction, weight.max * 2.0**-weight.fraction)
        if weight.width < widest_fixed(exact.dtype):
            saturated = int(torch.count_nonzero(new != exact))
        else:  # the difference may round, from just outside the format to its end
            saturated = _count_saturated(w, step, weight)
        new = new.to(w.dtype)
    report = UpdateReport(
        elements=w.numel(),
        nonzero=nonzero,
        saturated=saturated,
        nonfinite=scaled.nonfinite,
        clipped=scaled.clipped,
        resolution_needed=scaled.needed,
    )
    return new, report


def _count_saturated(w: Tensor, step: Tensor, weight: Fixed) -> int:
    units = 2.0**weight.fraction
    taken = (step.double() * units).clamp(-(2.0**62), 2.0**62).long()
    exact = (w.double() * units).long() - taken
    return int(torch.count_nonzero((exact < weight.min) | (exact > weight.max)))


def step(
    w: Tensor,
    h: Tensor,
    *,
    lr: float,
    resolution: int,
    weight: Fixed | None = None,
    gradient: Format | None = None,
) -> tuple[Tensor, UpdateReport]:
    """Return one step of the learning equation at a given resolution.

    Parameters
    ----------
    w, h : Tensor of float32 or float64, same shape
        Weights and directional derivative. Not changed.
    lr : float
        Learning rate lambda, positive.
    resolution : int
        q.
    weight, gradient : Format, optional
        Formats of the weights and of h.

    Returns
    -------
    w : Tensor
    report : UpdateReport

    Raises
    ------
    TypeError, ValueError
        If shapes or dtypes differ or are not allowed, or the resolution exceeds the weights'
        fraction bits.

    Notes
    -----
    Seok & Kim, arXiv 2112.13006, eq. (4).
    """
    if w.shape != h.shape or w.dtype != h.dtype:
        raise ValueError(
            f"w ({w.dtype}, shape {tuple(w.shape)}) and "
            f"h ({h.dtype}, shape {tuple(h.shape)}) differ"
        )
    if weight is not None and weight.width > widest_fixed(w.dtype):
        raise ValueError(
            f"{w.dtype} cannot hold weights of {weight.width} bits: "
            f"up to {widest_fixed(w.dtype)} allowed"
        )
    return apply(w, scale(h, lr, gradient), resolution, weight)
