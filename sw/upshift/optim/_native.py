"""The pass over tensors as native code: ``step.cpp`` around the direction of an optimizer.

The direction's formulas are written once, in torch. Here they are followed with symbols in place
of tensors, and each operation becomes one of C++, in the same order; the compiler is told to fuse
none. The code is used only after it gave the bits of the eager pass on a probe.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.resources
import itertools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from upshift import native
from upshift.optim import _pass
from upshift.optim._direction import Direction, Work, scalars
from upshift.optim._pass import Grid, Tally

LONGEST = 1 << 30
"""Elements of the longest tensor: each thread counts in 32 bits."""

_TYPES = {
    torch.float32: ("float", "int32_t", ctypes.c_float),
    torch.float64: ("double", "int64_t", ctypes.c_double),
}
# As they stand, operations are those of IEEE 754: nothing is fused, reordered or approximated.
_FLAGS = ["-std=c++17", "-O3", "-march=native", "-fopenmp"]
_FLAGS += ["-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
_GRAIN = 1 << 14
"""Elements that are worth another thread."""

_PROBE = (1 << 16) + 3  # enough for some threads, and no multiple of a vector


class _Result(ctypes.Structure):
    _fields_ = [(name, ctypes.c_double) for name in ("high", "low", "most")]
    _fields_ += [(name, ctypes.c_int64) for name in ("nonzero", "left")]
    _fields_ += [("places", ctypes.POINTER(ctypes.c_int64))]


class Code:
    """The compiled pass of a direction and a dtype.

    Parameters
    ----------
    library : ctypes.CDLL
    dtype : torch.dtype
    """

    def __init__(self, library: ctypes.CDLL, dtype: torch.dtype):
        self._step, self._peak, self._release = library.step, library.peak, library.release
        self._number = _TYPES[dtype][2]
        address, count = ctypes.c_void_p, ctypes.c_int64
        self._step.argtypes = [count, *[address] * 6, *[ctypes.c_int] * 3, address]
        self._step.restype = count
        self._peak.argtypes = [count, address, address, ctypes.c_int]
        self._peak.restype = ctypes.c_double
        self._release.argtypes, self._release.restype = [ctypes.POINTER(count)], None

    def step(
        self,
        works: Sequence[Work],
        grids: Sequence[Grid],
        *,
        leaves: bool = False,
        stops: bool = False,
    ) -> list[Tally]:
        """Advance weights and states in place, in order.

        Parameters
        ----------
        works : sequence of Work
            With the same scalars.
        grids : sequence of Grid
            Steps are limited if the first says so.
        leaves : bool
            Weights and state stay as they are where the direction is not finite. Steps have to be
            limited.
        stops : bool
            End with a step that moves no weight though its direction is not zero.

        Returns
        -------
        list of Tally
            Of the steps that were taken.
        """
        results = (_Result * len(works))()
        numbers, sizes = works[0].numbers, [work.w.numel() for work in works]
        taken = self._step(
            len(works),
            _addresses([work.w for work in works]),
            _addresses([work.g for work in works]),
            _addresses([t for work in works for t in work.state]),
            _sizes(sizes),
            (self._number * len(numbers))(*numbers),
            (self._number * (3 * len(grids)))(*itertools.chain.from_iterable(grids)),
            leaves,
            stops,
            # If it may be the last, threads wait for one another after each tensor.
            _threads(sum(sizes) // len(sizes) if stops else sum(sizes)),
            ctypes.addressof(results),
        )
        return [
            Tally(-one.low, one.high, one.nonzero, one.most, self._places(one))
            for one in results[:taken]
        ]

    def _places(self, one: _Result) -> Tensor | None:
        if not one.left:
            return None
        places = torch.tensor(one.places[: one.left], device="cpu")
        self._release(one.places)
        return places

    def peak(self, tensors: Sequence[Tensor]) -> float:
        """Return the largest magnitude; infinity if one is not finite."""
        sizes = [t.numel() for t in tensors]
        largest: float = self._peak(
            len(tensors), _addresses(tensors), _sizes(sizes), _threads(sum(sizes))
        )
        return largest if math.isfinite(largest) else math.inf


def _addresses(tensors: Sequence[Tensor]) -> Any:
    return (ctypes.c_void_p * len(tensors))(*(t.data_ptr() for t in tensors))


def _sizes(sizes: Sequence[int]) -> Any:
    return (ctypes.c_int64 * len(sizes))(*sizes)


def _threads(elements: int) -> int:
    return max(1, min(torch.get_num_threads(), elements // _GRAIN))


@functools.cache
def code(direction: Direction, dtype: torch.dtype, numbers: int) -> Code | None:
    """Return the compiled pass; None without a compiler, or if it has not the eager pass's bits.

    Parameters
    ----------
    direction : Direction
    dtype : torch.dtype
    numbers : int
        How many scalars the direction has.
    """
    source = (importlib.resources.files("upshift.optim") / "step.cpp").read_text()
    sources = {"step.cpp": source, "direction.h": header(direction, dtype, numbers)}
    try:
        made = Code(ctypes.CDLL(str(native.library(sources, "step.cpp", _FLAGS))), dtype)
    except (RuntimeError, OSError):  # whatever is wrong with the compiler, eager is right
        return None
    with torch.device("cpu"):
        return made if _right(made, direction, dtype, numbers) else None


_INFIX: dict[Callable[..., Any] | str, str] = {
    operator.add: "+",
    "add_": "+",
    operator.mul: "*",
    torch.mul: "*",
    "mul_": "*",
    operator.truediv: "/",
    "div_": "/",
}


def header(direction: Direction, dtype: torch.dtype, numbers: int) -> str:
    """Return the direction in C++, an operation for each one in torch."""
    graph = fx.Graph()
    tracer = fx.proxy.GraphAppendingTracer(graph)
    names: dict[fx.Node, str] = {}

    def symbol(name: str, place: str) -> Any:
        node = graph.placeholder(name)
        names[node] = place
        return fx.Proxy(node, tracer)

    states = range(len(direction.names))
    w, g = symbol("w", "w[i]"), symbol("g", "g[i]")
    state = tuple(symbol(f"s{j}", f"s{j}[i]") for j in states)
    k = tuple(symbol(f"k{j}", f"k{j}") for j in range(numbers))
    after: Any = direction.advance(w, g, state, (None,) * len(state), k)
    h: Any = direction(w, g, after, k)

    lines = []
    for node in graph.nodes:
        if node in names:
            continue
        names[node] = node.name
        one, *other = (names[given] for given in node.args)
        if node.target is operator.neg:
            said = f"-{one}"
        elif node.target is torch.sqrt:
            said = f"std::sqrt({one})"
        else:
            said = f"{one} {_INFIX[node.target]} {other[0]}"
        lines.append(f"const T {node.name} = {said};")
    lines.append(f"const T direction = {names[h.node]};")
    advance = [f"KEEP(s{j}[i], {names[after[j].node]})" for j in states]
    setup = [f"T *__restrict s{j} = state[{j}];" for j in states]
    setup += [f"const T k{j} = k[{j}];" for j in range(numbers)]
    real, word, _ = _TYPES[dtype]
    return (
        f"typedef {real} T;\ntypedef {word} WORD;\n#define STATES {len(states)}\n"
        f"#define DIRECTION_SETUP {' '.join(setup)}\n#define DIRECTION {' '.join(lines)}\n"
        f"#define ADVANCE {' '.join(advance)}\n"
    )


def _right(made: Code, direction: Direction, dtype: torch.dtype, numbers: int) -> bool:
    """Return whether a probe has the bits of the eager pass, in each way to take it."""
    free, limited = Grid(2.0**10, 2.0**-9, 0.0), Grid(2.0**10, 2.0**-9, 2.0**14)
    one, other = (_probe(direction, dtype, numbers) for _ in range(2))
    told = _pass.run(direction, other, free)
    assert told is not None
    same = made.step([one], [free]) == [told._replace(most=float(other.w.abs().max()))]
    same = same and _equal(one, other) and made.peak([one.g]) == float(one.g.abs().max())

    one, other = (_spoilt(_probe(direction, dtype, numbers)) for _ in range(2))
    (tally,) = made.step([one], [limited], leaves=True)
    left = _leave(direction, other, limited)
    same = same and tally.left is not None and torch.equal(tally.left, left) and _equal(one, other)

    if not direction.names:
        one, other = (_spoilt(_probe(direction, dtype, numbers)) for _ in range(2))
        made.step([one], [limited])
        _pass.undo(direction, one, limited)
        same = same and _equal(one, other)
    return same


def _equal(one: Work, other: Work) -> bool:
    pairs = zip((one.w, *one.state), (other.w, *other.state), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def _leave(direction: Direction, work: Work, grid: Grid) -> Tensor:
    """Take a step but for the weights whose direction is not finite, and return their places."""
    w, g, state, _ = work
    k = scalars(work.numbers, w)
    after = direction.advance(w, g, state, (None,) * len(state), k)
    h = direction(w, g, after, k)
    finite = h.isfinite()
    for old, new in zip(state, after, strict=True):
        old.copy_(torch.where(finite, new, old))
    units = _pass.rounded(torch.where(finite, h, 0.0), grid.up)
    w.sub_(_pass.limited(units, torch.tensor(grid.most, dtype=w.dtype)), alpha=grid.down)
    return torch.nonzero(~finite).ravel()


def _spoilt(work: Work) -> Work:
    """Put gradients that are too large, or no numbers, into a probe."""
    bad = torch.tensor((float("nan"), -float("nan"), float("inf"), -1e30), dtype=work.g.dtype)
    some = work.g[::3]
    some.copy_(bad.repeat(len(some) // 4 + 1)[: len(some)])
    return work


def _probe(direction: Direction, dtype: torch.dtype, numbers: int) -> Work:
    """Return random numbers, ties, very small and large ones."""
    source = torch.Generator().manual_seed(0)
    w = torch.randint(-512, 512, (_PROBE,), generator=source).to(dtype).mul_(2.0**-9)
    g = torch.randn(_PROBE, generator=source, dtype=dtype)
    g[:1024] = torch.arange(-512, 512).to(dtype).mul_(2.0**-10)
    g[1024:2048] *= torch.linspace(-149, 0, 1024).exp2().to(dtype)
    state = tuple(torch.rand(_PROBE, generator=source, dtype=dtype) for _ in direction.names)
    return Work(w, g, state, tuple(torch.rand(numbers, generator=source).tolist()))
