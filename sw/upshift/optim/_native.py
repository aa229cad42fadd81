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
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from upshift import native
from upshift.optim import _pass
from upshift.optim._direction import Direction, Work
from upshift.optim._pass import Grid, Tally

LONGEST = 1 << 30
"""Elements of the longest tensor: each thread counts in 32 bits."""

_TYPES = {
    torch.float32: ("float", "int32_t", ctypes.c_float),
    torch.float64: ("double", "int64_t", ctypes.c_double),
}
# As they stand, operations are those of IEEE 754: nothing is fused, reordered or approximated.
_FLAGS = ["-std=c++17", "-O3", "-march=native", "-fopenmp", "-fvisibility=default"]
_FLAGS += ["-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
_GRAIN = 1 << 14
"""Elements that are worth another thread."""

_PROBE = (1 << 16) + 3  # enough for all threads, and no multiple of a vector


class _Result(ctypes.Structure):
    _fields_ = [(name, ctypes.c_double) for name in ("high", "low", "most")]
    _fields_ += [(name, ctypes.c_int64) for name in ("nonzero", "left")]


class Code:
    """The compiled pass of a direction and a dtype.

    Parameters
    ----------
    library : ctypes.CDLL
    dtype : torch.dtype
    """

    def __init__(self, library: ctypes.CDLL, dtype: torch.dtype):
        self._step, self._peak = library.step, library.peak
        self._number = _TYPES[dtype][2]
        address, count = ctypes.c_void_p, ctypes.c_int64
        self._step.argtypes = [count, *[address] * 6, *[ctypes.c_int] * 3, address]
        self._step.restype = count
        self._peak.argtypes = [count, address, address, ctypes.c_int]
        self._peak.restype = ctypes.c_double

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
            Tally(-one.low, one.high, one.nonzero, one.most, one.left) for one in results[:taken]
        ]

    def peak(self, tensors: Sequence[Tensor]) -> float:
        """Return the largest magnitude; NaN if there is one."""
        sizes = [t.numel() for t in tensors]
        largest: float = self._peak(
            len(tensors), _addresses(tensors), _sizes(sizes), _threads(sum(sizes))
        )
        return largest


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
    """Return whether a probe has the bits of the eager pass, also where steps are taken back."""
    free = Grid(2.0**10, 2.0**-9, 0.0)
    one, other = (_probe(direction, dtype, numbers) for _ in range(2))
    expected = _pass.run(direction, other, free)
    assert expected is not None
    expected = expected._replace(most=float(other.w.abs().max()))
    same = made.step([one], [free]) == [expected]
    same = same and all(
        torch.equal(a, b) for a, b in zip((one.w, *one.state), (other.w, *other.state), strict=True)
    )
    if not direction.names:
        limited = free._replace(most=2.0**14)
        bad = _probe(direction, dtype, numbers)
        lost = torch.tensor((float("nan"), -float("nan"), float("inf"), -1e30))
        bad.g[::3] = lost.repeat(len(bad.g) // 12 + 1)[: len(bad.g[::3])]
        before = bad.w.clone()
        made.step([bad], [limited])
        _pass.undo(direction, bad, limited)
        same = same and torch.equal(bad.w, before)
    return same and made.peak([one.g]) == float(one.g.abs().max())


def _probe(direction: Direction, dtype: torch.dtype, numbers: int) -> Work:
    """Return random numbers, ties, very small and large ones."""
    source = torch.Generator().manual_seed(0)
    w = torch.randint(-512, 512, (_PROBE,), generator=source).to(dtype).mul_(2.0**-9)
    g = torch.randn(_PROBE, generator=source, dtype=dtype)
    g[:1024] = torch.arange(-512, 512).to(dtype).mul_(2.0**-10)
    g[1024:2048] *= torch.linspace(-149, 0, 1024).exp2().to(dtype)
    state = tuple(torch.rand(_PROBE, generator=source, dtype=dtype) for _ in direction.names)
    return Work(w, g, state, tuple(torch.rand(numbers, generator=source).tolist()))
