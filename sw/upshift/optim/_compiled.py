"""The pass over a tensor as `torch.compile` makes a single loop of it.

The loop has neither masks nor comparisons, for they cost a processor more than the arithmetic: it
works on the words of floats instead. Words of positive floats have the order of the floats, those
of negative ones are negative; with the sign changed it is the other way round.

Compiled code is used only after it gave the bits of the eager pass on a probe.
"""

from __future__ import annotations

import functools
import itertools
import types
import warnings

import torch
from torch import Tensor

from upshift.optim import _pass
from upshift.optim._direction import Direction, Work, scalars
from upshift.optim._pass import WORDS, Code

LONGEST = 1 << 30
"""Elements of the longest tensor: counters have 32 bits."""

_number = itertools.count()

_PROBE = (1 << 16) + 3  # enough for all threads, and no multiple of a vector


def _whole(
    direction: Direction,
    limits: bool,
    work: Work,
    out: tuple[Tensor, ...],
    grid: tuple[Tensor, ...],
) -> Tensor:
    """Advance weights and state into `out`; return extremes and non-zero steps.

    They are words of the largest h and -h or of zero, steps, and the word of the largest abs(w).
    """
    up, down, most = grid
    w, g, state, k = work
    h = direction(w, g, direction.advance(w, g, state, out[1:], k), k)
    units = _pass.rounded(h, up)
    if limits:
        units = _pass.limited(units, most)
    new = w - units * down
    out[0].copy_(new)
    word, sign = WORDS[w.dtype]
    words = h.view(word)
    high, low = words.amax().clamp_min(0), (words ^ sign).amax().clamp_min(0)
    nonzero = (units.view(word) & ~sign).clamp_max(1).sum(dtype=torch.int32).to(word)
    return torch.stack((high, low, nonzero, (new.view(word) & ~sign).amax()))


@functools.cache
def code(
    direction: Direction, limits: bool, dtype: torch.dtype, numbers: int, threads: int
) -> Code | None:
    """Return the compiled pass, or None if there is none with the eager pass's bits.

    It returns None instead of words, and has changed nothing, if it does not fit the state of
    torch any more and cannot be compiled anew.

    Parameters
    ----------
    direction : Direction
    limits : bool
        Whether steps are limited, so that they can be taken back.
    dtype : torch.dtype
    numbers : int
        How many scalars the direction has.
    threads : int
        Those of torch: code is compiled for a number of them.
    """
    # One code object is compiled so many times and no more, so this is another one.
    name = f"{_whole.__name__}_{next(_number)}"
    whole = types.FunctionType(_whole.__code__.replace(co_name=name), globals(), name)
    # Sizes, rates and resolutions are not part of the code: they may change.
    compiled = torch.compile(whole, dynamic=True, fullgraph=True)

    def call(work: Work, out: tuple[Tensor, ...], grid: tuple[Tensor, ...]) -> Tensor | None:
        try:
            words: Tensor = compiled(direction, limits, work, out, grid)
        except Exception:  # no compiler, or one that fails: whatever it says, eager is right
            return None
        return words

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of itself
        right = _right(call, direction, limits, dtype, numbers)
    return call if right else None


def _right(
    call: Code, direction: Direction, limits: bool, dtype: torch.dtype, numbers: int
) -> bool:
    one, other = (_probe(direction, dtype, numbers) for _ in range(2))
    grid = _pass.Grid(2.0**10, 2.0**-9, 2.0**14 if limits else 0.0)
    told = _pass.run(direction, one, grid, call)
    if told is None:
        return False
    expected = _pass.run(direction, other, grid, None)
    assert expected is not None
    same = all(
        torch.equal(a, b) for a, b in zip((one.w, *one.state), (other.w, *other.state), strict=True)
    )
    if limits and same:  # what is not finite is taken back as well
        bad = _probe(direction, dtype, numbers)
        bad.g[::3] = torch.tensor((float("nan"), -float("nan"), float("inf"), -1e30)).repeat(
            len(bad.g) // 12 + 1
        )[: len(bad.g[::3])]
        before = bad.w.clone()
        _pass.run(direction, bad, grid, call)
        _pass.undo(direction, bad, grid)
        same = torch.equal(bad.w, before)
    return same and told == expected._replace(most=float(other.w.abs().max()))


def _probe(direction: Direction, dtype: torch.dtype, numbers: int) -> Work:
    """Return random numbers, ties, very small and large ones."""
    source = torch.Generator().manual_seed(0)
    w = torch.randint(-512, 512, (_PROBE,), generator=source).to(dtype).mul_(2.0**-9)
    g = torch.randn(_PROBE, generator=source, dtype=dtype)
    g[:1024] = torch.arange(-512, 512).to(dtype).mul_(2.0**-10)
    g[1024:2048] *= torch.linspace(-149, 0, 1024).exp2().to(dtype)
    state = tuple(torch.rand(_PROBE, generator=source, dtype=dtype) for _ in direction.names)
    return Work(w, g, state, scalars(tuple(torch.rand(numbers, generator=source).tolist()), w))
