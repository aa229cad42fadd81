"""Steps in place, a pass over memory for each tensor, wherever nothing can go wrong on the way.

The bits are those of the careful way, which computes all directions first and checks them. Here
gradients are looked at first; what they and the state can become at most then shows that nothing
overflows. A step is taken at the resolution in force: if it vanishes and the policy raises the
resolution for that, it has changed no weight, and the second pass is simply another step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from upshift import equation
from upshift.formats import Fixed
from upshift.optim import _pass
from upshift.optim._pass import Direction, Work
from upshift.report import UpdateReport
from upshift.resolution import Policy, Rule

_LARGE = 2.0**60  # squares of gradients are finite
_LARGEST = 2.0**120


@dataclass(frozen=True)
class Moving:
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

    def foresee(self, moving: Iterable[Moving], policy: Policy) -> list[float] | None:
        """Return how large each new state can be; None if the careful way has to be taken."""
        if policy.rule != Rule():
            return None
        peaks = []
        for item in moving:
            peak = self._foresee(item, policy.foreseen(item.tensor))
            if peak is None:
                return None
            peaks.append(peak)
        return peaks

    def _foresee(self, item: Moving, resolution: int | None) -> float | None:
        p, g, lr = item.p, item.p.grad, item.lr
        if resolution is None or lr == 0.0 or not p.numel() or g is None:
            return None
        if self.weight is not None and self.weight.width >= equation.widest_fixed(p.dtype):
            return None  # a difference may round
        state = tuple(item.last[name] for name in item.direction.names if name in item.last)
        same = all(t.dtype == p.dtype and t.shape == p.shape for t in (g, *state))
        if not same or not all(t.is_cpu and t.is_contiguous() for t in (p, g, *state)):
            return None
        peak = _peak(g)
        if not peak < _LARGE:  # nor if it is not a number
            return None
        tensors, versions, before = self._peaks.get(p, ((), (), 0.0))
        if versions != _versions(state) or not all(map(Tensor.is_set_to, tensors, state)):
            before = max(map(_peak, state), default=0.0)
        w = 0.0
        if item.decays:
            w = -self.bounds[0] if self.bounds is not None else _peak(p)
        h, after = item.direction.bound(w, peak, before, item.numbers)
        safe = h * max(1.0, lr * 2.0 ** (resolution + 1)) < _LARGEST and after < _LARGEST
        return after if safe and before < _LARGEST else None

    def step(
        self, item: Moving, peak: float, policy: Policy
    ) -> tuple[UpdateReport, dict[str, Any]]:
        """Take the step of one parameter; return its report and the new entries of its state."""
        p, lr, state = item.p, item.lr, item.state()
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
        self._peaks[p] = state, _versions(state), peak
        report = UpdateReport(p.numel(), tally.nonzero, tally.saturated, 0, 0, needed)
        return report, dict(zip(item.direction.names, state, strict=True)) | item.entries


def _peak(t: Tensor) -> float:
    low, high = torch.aminmax(t)
    return max(-float(low), float(high)) if math.isfinite(low) and math.isfinite(high) else math.inf


def _versions(state: tuple[Tensor, ...]) -> tuple[int, ...]:
    return tuple(t._version for t in state)
