"""Steps in place, a pass over memory for each tensor, wherever nothing can go wrong on the way.

The bits are those of the careful way, which computes all directions first and checks them. Here
gradients are looked at first; what they and the state can become at most then shows that nothing
overflows. A step is taken at the resolution in force: if it vanishes and the policy raises the
resolution for that, it has changed no weight, and the second pass is simply another step.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from upshift import equation
from upshift.formats import Fixed
from upshift.optim import _pass
from upshift.optim._pack import Pack, Scratch, divide
from upshift.optim._pass import Moving, Work
from upshift.report import UpdateReport
from upshift.resolution import Policy, Rule
from upshift.resolution._policy import HIGHEST

_LARGE = 2.0**60  # squares of gradients are finite
_LARGEST = 2.0**120


class Part(NamedTuple):
    """Tensors that take their step together: one, or a pack; and a bound of the new state."""

    items: list[Moving]
    pack: Pack | None
    peak: float


class Fused:
    """Takes steps in place, and remembers how large the state can be.

    Parameters
    ----------
    weight : Fixed or None
        Format of the weights.
    compiled : bool or None
        Whether to use compiled code; None for tensors that are worth it.
    """

    def __init__(self, weight: Fixed | None, compiled: bool | None):
        self.weight = weight
        self.compiled = compiled
        self.bounds: _pass.Bounds = None
        if weight is not None:
            unit = 2.0**-weight.fraction
            self.bounds = weight.min * unit, weight.max * unit
        self._peaks: dict[Tensor, tuple[tuple[Tensor, ...], tuple[int, ...], float]] = {}
        self._packs: dict[int, Pack] = {}
        self._scratch = Scratch()

    def foresee(self, moving: list[Moving], policy: Policy) -> list[Part] | None:
        """Return tensors in their order, with bounds of their states; None to be careful."""
        if policy.rule != Rule():
            return None
        parts = []
        for items in divide(moving):
            part = self._foresee(items, policy)
            if part is None:
                return None
            parts.append(part)
        return parts

    def _foresee(self, items: list[Moving], policy: Policy) -> Part | None:
        first, p, lr = items[0], items[0].p, items[0].lr
        if lr == 0.0 or any(policy.foreseen(item.tensor) is None for item in items):
            return None
        if self.weight is not None and self.weight.width >= equation.widest_fixed(p.dtype):
            return None  # a difference may round
        pack = self._pack(items)
        if pack is None:
            g = p.grad
            state = tuple(first.last[name] for name in first.direction.names if name in first.last)
            assert g is not None
            same = all(t.dtype == p.dtype and t.shape == p.shape for t in (g, *state))
            near = all(t.is_cpu and t.is_contiguous() for t in (p, g, *state))
            if not (same and near and p.numel()):
                return None
        else:
            pack.gather(items)
            g, state = pack.g, pack.state
        peak = _peak(g)
        if not peak < _LARGE:  # nor if it is not a number
            return None
        tensors, versions, before = self._peaks.get(p, ((), (), 0.0))
        if versions != _versions(state) or any(
            a is not b for a, b in zip(tensors, state, strict=True)
        ):
            before = max(map(_peak, state), default=0.0)
        w = 0.0
        if first.decays:
            w = -self.bounds[0] if self.bounds is not None else max(_peak(i.p) for i in items)
        h, after = first.direction.bound(w, peak, before, first.numbers)
        steps = h * max(1.0, lr * 2.0 ** (HIGHEST + 1))  # at whatever resolution
        return Part(items, pack, after) if max(steps, before, after) < _LARGEST else None

    def _pack(self, items: list[Moving]) -> Pack | None:
        """Return the pack of some tensors, the one of the step before if they are the same."""
        if len(items) == 1:
            return None
        first = items[0].tensor
        pack = self._packs.get(first)
        if pack is None or not (
            len(pack.parameters) == len(items)
            and len(pack.state) == len(items[0].direction.names)
            and all(a is item.p for a, item in zip(pack.parameters, items, strict=True))
        ):
            pack = self._packs[first] = Pack(items, self._scratch)
        return pack

    def step(self, part: Part, policy: Policy) -> list[tuple[UpdateReport, dict[str, Any]]]:
        """Take the steps of some parameters; return reports and new entries of their states."""
        first = part.items[0]
        if part.pack is None:
            state = first.state()
            taken = [self._single(first, state, policy)]
        else:
            state = part.pack.state
            taken = part.pack.step(part.items, self.bounds, policy)
        self._peaks[first.p] = state, _versions(state), part.peak
        return taken

    def _single(
        self, item: Moving, state: tuple[Tensor, ...], policy: Policy
    ) -> tuple[UpdateReport, dict[str, Any]]:
        p, lr = item.p, item.lr
        assert p.grad is not None
        w, g, *flat = (t.detach().view(-1) for t in (p, p.grad, *state))
        work = Work(w, g, tuple(flat), _pass.scalars(item.numbers, p))
        worth = p.numel() >= _pass.COMPILE_FROM if self.compiled is None else self.compiled
        run = partial(_pass.run, item.direction, work, rate=lr, bounds=self.bounds, compiled=worth)
        foreseen = policy.foreseen(item.tensor)
        assert foreseen is not None
        tally = run(resolution=foreseen)
        needed = equation.needed(tally.low, tally.high, lr, p.dtype)
        resolution = policy.observe(item.tensor, needed)
        if resolution != foreseen:
            tally = run(resolution=resolution, moving=False)
        torch.autograd.graph.increment_version(p)
        report = UpdateReport(p.numel(), tally.nonzero, tally.saturated, 0, 0, needed)
        return report, dict(zip(item.direction.names, state, strict=True)) | item.entries


def _peak(t: Tensor) -> float:
    low, high = torch.aminmax(t)
    return max(-float(low), float(high)) if math.isfinite(low) and math.isfinite(high) else math.inf


def _versions(state: tuple[Tensor, ...]) -> tuple[int, ...]:
    return tuple(t._version for t in state)
