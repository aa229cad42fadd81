"""Small tensors side by side, so that one operation serves many of them.

Their weights and gradients are copied into scratch memory that all packs share; their state stays
side by side, and the optimizer's state has views of it.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upshift import equation
from upshift.optim import _pass
from upshift.optim._direction import Moving, Taken, scalars
from upshift.optim._pass import Bounds
from upshift.resolution import Policy

SMALL = 1 << 14
"""Elements of the largest tensor that is packed."""

_FULL = 1 << 18
_FEWEST = 4


def divide(moving: list[Moving]) -> list[list[Moving]]:
    """Return parameters in their order, neighbours that can be packed together, others alone."""
    packs: list[list[Moving]] = []
    for _, same in itertools.groupby(moving, key=_kind):
        pack: list[Moving] = []
        size = 0
        for item in same:
            if pack and size + item.p.numel() > _FULL:
                packs.append(pack)
                pack, size = [], 0
            pack.append(item)
            size += item.p.numel()
        packs.append(pack)
    return [
        part
        for pack in packs
        for part in ([pack] if len(pack) >= _FEWEST else [[item] for item in pack])
    ]


def _kind(item: Moving) -> object:
    p, g = item.p, item.p.grad
    assert g is not None
    small = 0 < p.numel() <= SMALL and p.is_cpu and p.is_contiguous() and g.is_contiguous()
    if not small or p.dtype != g.dtype or p.shape != g.shape:
        return p.data_ptr(), item.tensor  # like no other
    return p.dtype, item.lr, item.direction, item.numbers


class Scratch:
    """Memory for weights and gradients of the pack at hand, for each dtype."""

    def __init__(self) -> None:
        self._flat: dict[torch.dtype, tuple[Tensor, Tensor]] = {}

    def of(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return memory for weights and for gradients."""
        if dtype not in self._flat:
            self._flat[dtype] = torch.empty(_FULL, dtype=dtype), torch.empty(_FULL, dtype=dtype)
        return self._flat[dtype]


class Pack:
    """Tensors of one kind, which take their step together."""

    def __init__(self, items: list[Moving], scratch: Scratch):
        self.parameters = [item.p for item in items]
        sizes = [p.numel() for p in self.parameters]
        self._starts: NDArray[Any] = np.cumsum([0, *sizes[:-1]])
        first, size = self.parameters[0], sum(sizes)
        self.w, self.g = (flat[:size] for flat in scratch.of(first.dtype))
        self.state = tuple(first.new_empty(size) for _ in items[0].direction.names)
        self._w, self._g, *self._states = (
            [
                part.view(p.shape)
                for part, p in zip(torch.split(flat, sizes), self.parameters, strict=True)
            ]
            for flat in (self.w, self.g, *self.state)
        )

    def holds(self, items: list[Moving]) -> bool:
        """Return whether these are the parameters and the state of the pack."""
        return (
            len(self.parameters) == len(items)
            and len(self.state) == len(items[0].direction.names)
            and all(a is item.p for a, item in zip(self.parameters, items, strict=True))
        )

    def gather(self, items: list[Moving]) -> None:
        """Bring gradients together, and state that is not here already."""
        torch._foreach_copy_(self._g, _gradients(items))
        for name, views in zip(items[0].direction.names, self._states, strict=True):
            for item, view in zip(items, views, strict=True):
                if name not in item.last:
                    view.zero_()
                elif item.last[name] is not view:
                    view.copy_(item.last[name])

    def step(self, items: list[Moving], bounds: Bounds, policy: Policy) -> list[Taken]:
        """Take all steps, without clamping weights."""
        parameters, direction, lr = self.parameters, items[0].direction, items[0].lr
        torch._foreach_copy_(self._w, parameters)
        torch._foreach_copy_(self._g, _gradients(items))
        k = scalars(items[0].numbers, self.w)
        h = direction(self.w, self.g, direction.advance(*self._work(k)), k)
        lows, highs = (edge.reduceat(h.numpy(), self._starts).tolist() for edge in _EDGES)
        needed = [
            equation.needed(low, high, lr, h.dtype) for low, high in zip(lows, highs, strict=True)
        ]
        resolutions = [
            policy.observe(item.tensor, q) for item, q in zip(items, needed, strict=True)
        ]
        ones = torch.empty_like(h)
        ends = [*self._starts[1:].tolist(), len(h)]
        start = 0
        for q, same in itertools.groupby(zip(resolutions, ends, strict=True), key=lambda it: it[0]):
            *_, (_, end) = same
            part = slice(start, end)
            ones[part] = _pass.quantize_(self.w[part], h[part], _pass.grid(lr, q, h))
            start = end
        torch._foreach_copy_(parameters, self._w)
        nonzero = self._counts(ones)
        outside = None if bounds is None else _pass.outside(self.w, bounds)[1]
        saturated = [0] * len(items) if outside is None else self._counts(outside.to(h.dtype))
        states = zip(*self._states, strict=True) if self._states else [()] * len(items)
        return [
            Taken(item, q, least, moved, clamped, 0, dict(zip(direction.names, state, strict=True)))
            for item, q, least, moved, clamped, state in zip(
                items, resolutions, needed, nonzero, saturated, states, strict=True
            )
        ]

    def _counts(self, ones: Tensor) -> list[int]:
        return [int(count) for count in np.add.reduceat(ones.numpy(), self._starts)]

    def _work(self, k: tuple[Tensor, ...]) -> tuple[Any, ...]:
        return self.w, self.g, self.state, self.state, k


def _gradients(items: list[Moving]) -> list[Tensor]:
    return [item.p.grad for item in items if item.p.grad is not None]


_EDGES = np.minimum, np.maximum
