"""One step of one tensor in one pass over memory: direction, quantizer, weights and counters.

The pass is one function. Where a compiler is present, `torch.compile` makes a single loop of it;
otherwise it runs eagerly on pieces that stay in the processor's cache, whose temporaries the
allocator hands out again and again. Either way every operation is one IEEE operation, so the bits
are the same, and a compiled pass is used only after it gave the eager one's bits on a probe.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

PIECE = 1 << 17
"""Elements of a piece: with its temporaries it fits into a second-level cache."""

COMPILE_FROM = 1 << 16
"""Elements of the smallest tensor that is worth a call of compiled code, and its compilation."""

_LONGEST = 1 << 30  # counters of a compiled pass have 32 bits
_PROBE = (1 << 16) + 3  # enough for all threads, and no multiple of a vector

Bounds = tuple[float, float] | None


class Direction(Protocol):
    """How an optimizer comes from gradients to the direction h; hashable, without tensors.

    Scalars `k` are tensors of no dimension, rounded to the dtype once.
    """

    def __hash__(self) -> int:
        """Equal directions compute the same."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the state's tensors."""

    def advance(
        self, w: Tensor, g: Tensor, state: tuple[Tensor, ...], out: Any, k: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        """Return the next state, in the tensors `out` unless they are None."""

    def bound(
        self, w: float, g: float, state: float, numbers: tuple[float, ...]
    ) -> tuple[float, float]:
        """Return what magnitudes of h and of the next state do not exceed."""

    def __call__(
        self, w: Tensor, g: Tensor, state: tuple[Tensor, ...], k: tuple[Tensor, ...]
    ) -> Tensor:
        """Return h, from the state after this gradient."""


class Moving(NamedTuple):
    """A parameter and what its step is made of.

    Attributes
    ----------
    p : Tensor
        The parameter; it has a dense gradient.
    tensor : int
        Its index in the optimizer.
    lr : float
        Its learning rate.
    direction : Direction
    numbers : tuple of float
        Scalars of the direction.
    decays : bool
        Whether its weights enter the direction.
    last : dict
        Its state before the step.
    entries : dict
        What the step changes in the state beside tensors.
    """

    p: Tensor
    tensor: int
    lr: float
    direction: Direction
    numbers: tuple[float, ...]
    decays: bool
    last: dict[str, Any]
    entries: dict[str, Any]

    def state(self) -> tuple[Tensor, ...]:
        """Return the tensors of the state; zeros if there are none yet."""
        if all(name in self.last for name in self.direction.names):
            return tuple(self.last[name] for name in self.direction.names)
        assert self.p.grad is not None
        return tuple(torch.zeros_like(self.p.grad) for _ in self.direction.names)


class Tally(NamedTuple):
    """What a pass counted: extremes of h, non-zero steps, clamped weights."""

    low: float
    high: float
    nonzero: int
    saturated: int


def root(x: Tensor) -> Tensor:
    """Return the correctly rounded square root, which torch's own is not on CPUs.

    Neither is eager torch's in float32 nor in float64; compiled code takes the processor's.
    """
    if torch.compiler.is_compiling():
        return x.sqrt()
    if x.device.type == "cpu":
        result = torch.empty_like(x)
        np.sqrt(x.numpy(), out=result.numpy())
        return result
    return x.double().sqrt_().to(x.dtype)  # of a float32 the root of a double, rounded, is right


class Work(NamedTuple):
    """What a pass works on: tensors of one dimension and length, and scalars of the direction."""

    w: Tensor
    g: Tensor
    state: tuple[Tensor, ...]
    k: tuple[Tensor, ...]

    def part(self, start: int, length: int) -> Work:
        """Return the work on some of the elements."""
        w, g, *state = (t[start : start + length] for t in (self.w, self.g, *self.state))
        return Work(w, g, tuple(state), self.k)


def whole(
    direction: Direction,
    bounded: bool,
    work: Work,
    out: tuple[Tensor, ...],
    grid: tuple[Tensor, ...],
) -> tuple[Tensor, ...]:
    """Advance weights and state into `out`: the pass as it is compiled.

    `grid` has 2 lambda 2**q, 2**-q, and the ends of the weights' format. Twice the step is
    rounded down, halved and rounded up: floor(x + 1/2) without a sum that rounds.
    """
    up, down, low, high = grid
    w, g, state, k = work
    h = direction(w, g, direction.advance(w, g, state, out[1:], k), k)
    units = (h * up).floor().mul(0.5).ceil()
    exact = w - units * down
    new = exact
    if bounded:  # not by clamp, which takes care of NaN
        new = torch.where(exact < low, low, torch.where(exact > high, high, exact))
    out[0].copy_(new)
    counts = (marks.sum(dtype=torch.int32) for marks in (units != 0.0, new != exact))
    return -_highest(-h), _highest(h), *counts


def _highest(h: Tensor) -> Tensor:
    """Return the largest element, or zero if none is positive.

    Words of positive floats have the order of the floats, those of negative ones are negative; and
    a maximum of integers, which need not care for NaN, does not hold up the loop.
    """
    words = h.view(torch.int32 if h.dtype == torch.float32 else torch.int64)
    return words.amax().clamp_min(0).view(h.dtype)


def in_place(
    direction: Direction,
    bounds: Bounds,
    work: Work,
    grid: tuple[float, float],
    *,
    moving: bool = True,
) -> tuple[Any, ...]:
    """Advance weights and state: the same by as few eager operations as there can be.

    `grid` is that of `quantize_`.
    """
    w, g, state, k = work
    if moving:
        direction.advance(w, g, state, state, k)
    h = direction(w, g, state, k)
    moved, outside = quantize_(w, h, bounds, grid)
    saturated = 0 if outside is None else outside.sum()
    return (*torch.aminmax(h), moved.sum(), saturated)


def quantize_(
    w: Tensor, h: Tensor, bounds: Bounds, grid: tuple[float, float]
) -> tuple[Tensor, Tensor | None]:
    """Step weights in place; return ones where steps are not zero, and where weights are clamped.

    `grid` has 2 lambda 2**q and 2**-q. A sum of few ones is exact in floats.
    """
    up, down = grid
    units = torch.mul(h, up).floor_().mul_(0.5).ceil_()
    w.sub_(units, alpha=down)  # fused or not, since this product is exact
    outside = None
    if bounds is not None:
        low, high = torch.aminmax(w)
        if low < bounds[0] or high > bounds[1]:
            outside = (w < bounds[0]).logical_or_(w > bounds[1])
            w.clamp_(*bounds)
    return units.ne_(0.0), outside


def grid(lr: float, resolution: int, like: Tensor) -> tuple[float, float]:
    """Return 2 lambda 2**q, lambda rounded to the dtype of a tensor, and 2**-q."""
    rounded = torch.tensor(lr, dtype=like.dtype).item()
    return rounded * 2.0 ** (resolution + 1), 2.0**-resolution


def scalars(values: tuple[float, ...], like: Tensor) -> tuple[Tensor, ...]:
    """Return numbers as tensors of no dimension, rounded to the dtype of a tensor."""
    return torch.tensor(values, dtype=like.dtype, device=like.device).unbind()


def run(
    direction: Direction,
    work: Work,
    *,
    rate: float,
    resolution: int,
    bounds: Bounds,
    compiled: bool,
    moving: bool = True,
) -> Tally:
    """Advance a tensor's weights and state in place.

    Parameters
    ----------
    direction : Direction
    work : Work
        On float32 or float64, contiguous, of 1 element or more; finite, and so small that no
        product overflows.
    rate : float
        The learning rate.
    resolution : int
        q.
    bounds : tuple of float, optional
        Ends of the weights' format; None for floating-point weights.
    compiled : bool
        Use compiled code if it can be had.
    moving : bool
        False for a state that has seen this gradient already.
    """
    w, length = work.w, work.w.numel()
    up, down = grid(rate, resolution, w)
    call = None
    if compiled and moving and 2 <= length < _LONGEST:
        call = _compiled(direction, bounds is not None, w.dtype, len(work.state), len(work.k))
    if call is not None:
        out = tuple(_other(t) for t in (w, *work.state))
        found = [call(work, out, scalars((up, down, *(bounds or (0.0, 0.0))), w))]
    else:
        found = [
            in_place(direction, bounds, work.part(start, PIECE), (up, down), moving=moving)
            for start in range(0, length, PIECE)
        ]
    lows, highs, nonzero, saturated = zip(*found, strict=True)
    return Tally(
        min(map(float, lows)),
        max(map(float, highs)),
        sum(map(int, nonzero)),
        sum(map(int, saturated)),
    )


def _other(t: Tensor) -> Tensor:
    """Return the memory of a tensor under another name.

    The compiler would not write where it reads in one loop if it knew. Elements depend on nothing
    but elements at the same place, so a single loop may; that it is one, the probe shows.
    """
    return from_dlpack(t)


@functools.cache
def _compiled(
    direction: Direction, bounded: bool, dtype: torch.dtype, states: int, numbers: int
) -> Callable[..., Any] | None:
    """Return the compiled pass, or None if there is none with the eager pass's bits."""
    # Sizes, rates and resolutions are not part of the code: they may change.
    compiled = torch.compile(whole, dynamic=True, fullgraph=True)
    call = functools.partial(compiled, direction, bounded)
    one, other = (_probe(dtype, states, numbers) for _ in range(2))
    ends = -1.0, 1.0 - 2.0**-9
    up, down = 2.0**10, 2.0**-9
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of itself
            told = call(
                one,
                tuple(_other(t) for t in (one.w, *one.state)),
                scalars((up, down, *ends), one.w),
            )
    except Exception:  # no compiler, or one that fails: whatever it says, the eager pass is right
        return None
    expected = in_place(direction, ends if bounded else None, other, (up, down))
    pairs = zip((one.w, *one.state), (other.w, *other.state), strict=True)
    same = list(map(float, told)) == list(map(float, expected))
    return call if same and all(torch.equal(a, b) for a, b in pairs) else None


def _probe(dtype: torch.dtype, states: int, numbers: int) -> Work:
    """Return random numbers, ties, very small ones, and steps that leave the format."""
    source = torch.Generator().manual_seed(0)
    w = torch.randint(-512, 512, (_PROBE,), generator=source).to(dtype).mul_(2.0**-9)
    g = torch.randn(_PROBE, generator=source, dtype=dtype)
    g[:1024] = torch.arange(-512, 512).to(dtype).mul_(2.0**-10)
    g[1024:2048] *= torch.linspace(-149, 0, 1024).exp2().to(dtype)
    g[-64:] = 1e4
    state = tuple(torch.rand(_PROBE, generator=source, dtype=dtype) for _ in range(states))
    return Work(w, g, state, torch.rand(numbers, generator=source, dtype=dtype).unbind())
