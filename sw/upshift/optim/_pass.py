"""One step of one tensor in one pass over memory: direction, quantizer, weights and counters.

Where a compiler is present, `_native` makes a single loop of it; otherwise it runs eagerly on
pieces that stay in the processor's cache, whose temporaries the allocator hands out again and
again. Either way every operation is one IEEE operation, so the bits are the same.

A pass does not clamp: the few tensors that have left their format are clamped when the whole step
is known to be good. Until then a step that depends on the gradient alone can be taken back,
exactly, since it is a difference of numbers on a grid.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from upshift.optim._direction import Direction, Work, scalars

_PIECE, _LONGEST = 1 << 18, 1 << 19
"""Elements of a piece for each thread, and in all: fewer cost more calls, and the temporaries of
more are so large that the allocator has them from the system, new for each operation."""

_WORDS = {torch.float32: (torch.int32, -(2**31)), torch.float64: (torch.int64, -(2**63))}
"""The integers that have the words of floats, and the sign's."""

Bounds = tuple[float, float] | None


class Grid(NamedTuple):
    """Numbers of the quantizer in the dtype of a tensor.

    Attributes
    ----------
    up : float
        2 lambda 2**q, with lambda rounded to the dtype.
    down : float
        2**-q.
    most : float
        Units to which steps are limited that may have to be taken back.
    """

    up: float
    down: float
    most: float


class Tally(NamedTuple):
    """What a pass found: extremes of h, what moved, the magnitude of weights, and what was left.

    Extremes of native code are on their side of zero, or zero; only it knows the magnitude, for a
    look at the weights costs an eager pass a tenth of its time. What was left are places, or None.
    """

    low: float
    high: float
    nonzero: int
    most: float | None
    left: Tensor | None = None


def grid(lr: float, resolution: int, like: Tensor, reach: float = 0.0) -> Grid:
    """Return the numbers of the quantizer; steps are limited to `reach`, if at all."""
    rounded = float(np.float32(lr)) if like.dtype == torch.float32 else lr
    up = 2.0**resolution
    return Grid(rounded * 2.0 * up, 1.0 / up, reach * up)


def piece() -> int:
    """Return the elements of a piece, few enough for float32 to count."""
    return min(_PIECE * torch.get_num_threads(), _LONGEST)


def run(direction: Direction, work: Work, numbers: Grid) -> Tally | None:
    """Advance a tensor's weights and state in place.

    If steps are limited and one is not within the limit, it changes nothing and returns None.

    Parameters
    ----------
    direction : Direction
    work : Work
        On float32 or float64, contiguous, of 1 element or more; finite, and so small that no
        product overflows, unless steps are limited.
    numbers : Grid
    """
    found: list[tuple[float, float, Tensor]] = []
    parts = work.pieces(piece())
    for part in parts:
        told = in_place(direction, part, numbers)
        if told is None:
            for done in parts[: len(found)]:
                take_back(direction, done, numbers)
            return None
        found.append(told)
    return _joined(found)


def repeat(direction: Direction, work: Work, numbers: Grid, left: Tensor | None) -> Tally:
    """Take the step of a state that has seen its gradient already, but for some places."""
    found = []
    for w, g, state, plain in work.pieces(piece() if left is None else work.w.numel()):
        h = direction(w, g, state, scalars(plain, w))
        if left is not None:
            h = h.index_fill(0, left, 0.0)
        found.append(_quantized(w, h, numbers))
    return _joined([told for told in found if told is not None])._replace(left=left)


def undo(direction: Direction, work: Work, numbers: Grid) -> None:
    """Take a step back whose direction comes from the gradient alone."""
    for part in work.pieces(piece()):
        take_back(direction, part, numbers)


def take_back(direction: Direction, work: Work, numbers: Grid) -> None:
    """Take the step of a piece back."""
    w, g, state, _ = work
    k = scalars(work.numbers, w)
    most = torch.tensor(numbers.most, dtype=w.dtype)
    w.add_(limited(rounded(direction(w, g, state, k), numbers.up), most), alpha=numbers.down)


def in_place(direction: Direction, work: Work, numbers: Grid) -> tuple[float, float, Tensor] | None:
    """Advance weights and state by as few eager operations as there can be; return a tally.

    If steps are limited and one is not within the limit, or no number, nothing changes.
    """
    w, g, state, _ = work
    k = scalars(work.numbers, w)
    direction.advance(w, g, state, state, k)
    return _quantized(w, direction(w, g, state, k), numbers)


def _quantized(w: Tensor, h: Tensor, numbers: Grid) -> tuple[float, float, Tensor] | None:
    low, high = map(float, torch.aminmax(h))
    most = numbers.most
    if most and not (-low * numbers.up < most and high * numbers.up < most):
        return None
    return low, high, quantize_(w, h, numbers).sum()


def quantize_(w: Tensor, h: Tensor, numbers: Grid) -> Tensor:
    """Step weights in place; return ones where steps are not zero, of which few add up exactly."""
    units = rounded(h, numbers.up)
    w.sub_(units, alpha=numbers.down)  # fused or not, since this product is exact
    return units.ne_(0.0)


def rounded(h: Tensor, up: float) -> Tensor:
    """Return the step of h in units of its grid, floor(x + 1/2).

    Twice the step is rounded down, halved and rounded up: without a sum that rounds.
    """
    return torch.mul(h, up).floor_().mul_(0.5).ceil_()


def outside(w: Tensor, bounds: tuple[float, float]) -> tuple[float, Tensor | None]:
    """Return what no weight exceeds, and ones where they are outside; None if none is."""
    low, high = map(float, torch.aminmax(w))
    inside = bounds[0] <= low and high <= bounds[1]
    return max(-low, high), None if inside else w.lt(bounds[0]).logical_or_(w > bounds[1])


def limited(x: Tensor, most: Tensor) -> Tensor:
    """Return numbers limited to -most and most, whatever they were: NaN keeps its sign."""
    word, sign = _WORDS[x.dtype]
    words = x.view(word)
    return (torch.minimum(words & ~sign, most.view(word)) | (words & sign)).view(x.dtype)


def _joined(found: list[tuple[float, float, Tensor]]) -> Tally:
    """Return the tally of all pieces."""
    low, high, nonzero = zip(*found, strict=True)
    return Tally(min(low), max(high), sum(map(int, nonzero)), None)
