"""One step of one tensor in one pass over memory: direction, quantizer, weights and counters.

The pass is one function. Where a compiler is present, `_compiled` makes a single loop of it;
otherwise it runs eagerly on pieces that stay in the processor's cache, whose temporaries the
allocator hands out again and again. Either way every operation is one IEEE operation, so the bits
are the same.

A pass does not clamp: the few tensors that have left their format are clamped when the whole step
is known to be good. Until then a step that depends on the gradient alone can be taken back,
exactly, since it is a difference of numbers on a grid.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from upshift.optim._direction import Direction, Work, scalars

_PIECE, _LONGEST = 1 << 18, 1 << 19
"""Elements of a piece for each thread, and in all: fewer cost more calls, and the temporaries of
more are so large that the allocator has them from the system, new for each operation."""

WORDS = {torch.float32: (torch.int32, -(2**31)), torch.float64: (torch.int64, -(2**63))}
"""The integers that have the words of floats, and the sign's."""

Code = Callable[[Work, tuple[Tensor, ...], tuple[Tensor, ...]], Tensor | None]
"""Advances the work into other names of its tensors, by the numbers of a grid; returns words."""

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
    """What a pass found: extremes of h, non-zero steps, magnitude of the weights before clamping.

    Extremes of compiled code are on their side of zero, or zero; only it knows the magnitude, for
    a look at the weights costs an eager pass a tenth of its time.
    """

    low: float
    high: float
    nonzero: int
    most: float | None


def grid(lr: float, resolution: int, like: Tensor, reach: float = 0.0) -> Grid:
    """Return the numbers of the quantizer; steps are limited to `reach`, if at all."""
    rounded = torch.tensor(lr, dtype=like.dtype).item()
    up = 2.0**resolution
    return Grid(rounded * 2.0 * up, 1.0 / up, reach * up)


def piece() -> int:
    """Return the elements of a piece, few enough for float32 to count."""
    return min(_PIECE * torch.get_num_threads(), _LONGEST)


def run(direction: Direction, work: Work, numbers: Grid, code: Code | None) -> Tally | None:
    """Advance a tensor's weights and state in place; or change nothing and return None.

    It does so if code fails, or if there is none and a step is beyond what can be taken back.

    Parameters
    ----------
    direction : Direction
    work : Work
        On float32 or float64, contiguous, of 1 element or more; finite, and so small that no
        product overflows, unless steps are limited.
    numbers : Grid
    code : callable, optional
        Compiled code of the pass.
    """
    if code is not None:
        out = tuple(map(_other_name, (work.w, *work.state)))
        words = code(work, out, scalars(numbers, work.w))
        return None if words is None else _told(words)
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


def repeat(direction: Direction, work: Work, numbers: Grid) -> Tally:
    """Take the step of a state that has seen its gradient already."""
    found = (in_place(direction, part, numbers, moving=False) for part in work.pieces(piece()))
    return _joined([told for told in found if told is not None])


def undo(direction: Direction, work: Work, numbers: Grid) -> None:
    """Take a step back whose direction comes from the gradient alone."""
    for part in work.pieces(piece()):
        take_back(direction, part, numbers)


def take_back(direction: Direction, work: Work, numbers: Grid) -> None:
    """Take the step of a piece back."""
    w, g, state, k = work
    most = torch.tensor(numbers.most, dtype=w.dtype)
    w.add_(limited(rounded(direction(w, g, state, k), numbers.up), most), alpha=numbers.down)


def in_place(
    direction: Direction, work: Work, numbers: Grid, *, moving: bool = True
) -> tuple[float, float, Tensor] | None:
    """Advance weights and state by as few eager operations as there can be; return a tally.

    If steps are limited and one is not within the limit, or no number, nothing changes.
    """
    w, g, state, k = work
    if moving:
        direction.advance(w, g, state, state, k)
    h = direction(w, g, state, k)
    low, high = map(float, torch.aminmax(h))
    most = numbers.most
    if most and not (-low * numbers.up < most and high * numbers.up < most):
        return None
    moved = quantize_(w, h, numbers)
    return low, high, moved.sum()


def quantize_(w: Tensor, h: Tensor, numbers: Grid) -> Tensor:
    """Step weights in place; return ones where steps are not zero, of which few add up exactly."""
    units = rounded(h, numbers.up)
    w.sub_(units, alpha=numbers.down)  # fused or not, since this product is exact
    return units.ne_(0.0)


def rounded(h: Tensor, up: float | Tensor) -> Tensor:
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
    word, sign = WORDS[x.dtype]
    words = x.view(word)
    return (torch.minimum(words & ~sign, most.view(word)) | (words & sign)).view(x.dtype)


def _other_name(t: Tensor) -> Tensor:
    """Return the memory of a tensor under another name.

    The compiler would not write where it reads in one loop if it knew. Elements depend on nothing
    but elements at the same place, so a single loop may; that it is one, the probe shows.
    """
    return from_dlpack(t)


def _joined(found: list[tuple[float, float, Tensor]]) -> Tally:
    """Return the tally of all pieces."""
    low, high, nonzero = zip(*found, strict=True)
    return Tally(min(low), max(high), sum(map(int, nonzero)), None)


def _told(words: Tensor) -> Tally:
    """Return the tally of compiled code, which has extremes as words (see `_compiled`)."""
    form = ("<4i", "<2fif") if words.dtype == torch.int32 else ("<4q", "<2dqd")
    high, low, nonzero, most = struct.unpack(form[1], struct.pack(form[0], *words.tolist()))
    return Tally(-low, high, nonzero, most)
