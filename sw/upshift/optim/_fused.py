"""Steps in place, a pass over memory for each tensor, wherever nothing can go wrong on the way.

The bits are those of the careful way, which computes all directions first and checks them. Here
gradients are looked at first; what they and the state can become at most then shows that nothing
overflows. Where weights on a grid step by the gradient alone, not even that look is needed: the
pass finds out on the way, and all such steps can be taken back. Nor is it where weights may be
left as they are, one by one.

A step is taken at the resolution in force: if it vanishes and the policy raises the resolution for
that, it has changed no weight, and the second pass is simply another step.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from upshift import equation
from upshift.formats import Fixed
from upshift.optim import _native, _pass
from upshift.optim._direction import Moving, Taken, Work
from upshift.optim._native import Code
from upshift.optim._pass import Grid, Tally
from upshift.resolution import Policy, Rule
from upshift.resolution._policy import HIGHEST

_LARGE = 2.0**60  # squares of gradients are finite, and so are rates at any resolution
_LARGEST = 2.0**120
_TINY = 2.0**-60  # smaller numbers may have squares of zero


class Part(NamedTuple):
    """Neighbouring parameters whose directions have the same formulas and scalars.

    Attributes
    ----------
    items : list of Moving
    code : Code, optional
        Native code of the pass.
    tried : bool
        The pass takes steps without knowing whether they are good.
    leaves : bool
        The pass leaves weights as they are whose direction is not finite.
    """

    items: list[Moving]
    code: Code | None
    tried: bool
    leaves: bool


class Begun(NamedTuple):
    """A step that begins: what it works on, the version of its weights, and q as foreseen."""

    item: Moving
    work: Work
    version: int
    foreseen: int


class Fused:
    """Takes steps in place, and remembers how large the state can be.

    Parameters
    ----------
    weight : Fixed or None
        Format of the weights.
    compiled : bool
        Whether to use native code, if there can be any.
    """

    def __init__(self, weight: Fixed | None, compiled: bool):
        self.weight = weight
        self.compiled = compiled
        self.bounds: _pass.Bounds = None
        if weight is not None:
            unit = 2.0**-weight.fraction
            self.bounds = weight.min * unit, weight.max * unit
        self._peaks: dict[Tensor, tuple[tuple[Tensor, ...], tuple[int, ...], float]] = {}
        self._extents: dict[Tensor, tuple[int, float]] = {}

    def step(self, moving: list[Moving], policy: Policy, *, leave: bool) -> list[Taken] | None:
        """Take the steps of all parameters; or change nothing and return None, to be careful.

        Parameters
        ----------
        moving : list of Moving
        policy : Policy
        leave : bool
            Leave weights as they are whose direction is not finite.
        """
        if policy.rule != Rule() or not all(self._suits(item, policy) for item in moving):
            return None
        taken = None
        if self.weight is not None and not leave and all(item.plain for item in moving):
            taken = self._step(moving, policy, tries=True)
        return self._step(moving, policy, leave=leave) if taken is None else taken

    def _step(
        self, moving: list[Moving], policy: Policy, *, tries: bool = False, leave: bool = False
    ) -> list[Taken] | None:
        alike = [list(items) for _, items in itertools.groupby(moving, _kind)]
        parts = [self._part(items, tries, leave) for items in alike]
        peaks = [0.0 if part.tried or part.leaves else self._look(part) for part in parts]
        if math.inf in peaks:
            return None
        before = policy.state_dict() if tries else {}
        done: list[Taken] = []
        for part, peak in zip(parts, peaks, strict=True):
            first = len(done)
            if not self._advance(part, policy, done):
                for one in done:
                    self._undo(one)
                policy.load_state_dict(before)
                return None
            if part.leaves:
                self._peaks.pop(part.items[0].p, None)
            elif not part.tried:
                state = tuple(t for one in done[first:] for t in one.state.values())
                self._peaks[part.items[0].p] = state, _versions(state), peak
        for one in done:
            if one.saturated and self.bounds is not None:
                one.item.p.clamp_(*self.bounds)
        return done

    def _suits(self, item: Moving, policy: Policy) -> bool:
        """Return whether a pass can take the step of a parameter."""
        p, g = item.p, item.p.grad
        assert g is not None
        if not 0.0 < item.lr < _LARGE or not p.numel() or policy.foreseen(item.tensor) is None:
            return False
        if self.weight is not None and self.weight.width >= equation.widest_fixed(p.dtype):
            return False  # a difference may round
        if not p.is_cpu or not p.is_contiguous():
            return False
        dtype, shape = p.dtype, p.shape
        for t in (g, *(item.last[name] for name in item.direction.names if name in item.last)):
            if t.dtype != dtype or t.shape != shape or not t.is_cpu or not t.is_contiguous():
                return False
            if t.is_neg() or not t.data_ptr():
                return False  # what is in its memory is not what it says
        return True

    def _part(self, items: list[Moving], tries: bool, leave: bool) -> Part:
        first, code = items[0], None
        if self.compiled and all(item.p.numel() < _native.LONGEST for item in items):
            code = _native.code(first.direction, first.p.dtype, len(first.numbers))
        return Part(items, code, tries, leave and code is not None and self._clamps(first.p))

    def _look(self, part: Part) -> float:
        """Return what states can be at most after the step; infinity if something overflows."""
        items, first = part.items, part.items[0]
        look = _peak if part.code is None else part.code.peak
        peak = look([item.p.grad for item in items if item.p.grad is not None])
        if not peak < _LARGE:  # nor if it is not a number
            return math.inf
        names, direction = first.direction.names, first.direction
        state = tuple(item.last[name] for item in items for name in names if name in item.last)
        tensors, versions, before = self._peaks.get(first.p, ((), (), 0.0))
        if versions != _versions(state) or any(
            a is not b for a, b in zip(tensors, state, strict=True)
        ):
            before = look(state) if state else 0.0
        w = 0.0
        if first.decays:
            w = -self.bounds[0] if self.bounds is not None else look([item.p for item in items])
        h, after = direction.bound(w, peak, before, first.numbers)
        steps = h * max(1.0, first.lr * 2.0 ** (HIGHEST + 1))  # at whatever resolution
        return after if all(x < _LARGEST for x in (steps, before, after)) else math.inf

    def _advance(self, part: Part, policy: Policy, done: list[Taken]) -> bool:
        """Take the steps of a part, which go to `done`; return whether all of them are good."""
        first = part.items[0]
        reach = self._reach(first.p) if part.tried or part.leaves else 0.0
        works = [item.work(item.state()) for item in part.items]
        while works:
            items = part.items[-len(works) :]
            if part.code is None:
                items = items[:1]
            begun = [
                Begun(item, work, item.p._version, policy.foreseen(item.tensor) or 0)
                for item, work in zip(items, works, strict=False)
            ]
            grids = [_pass.grid(first.lr, each.foreseen, first.p, reach) for each in begun]
            tallies = self._run(part, works, grids, policy)
            taken = list(zip(begun, tallies, strict=False))
            if part.tried and not all(
                # Both sides, since `max` would let one that is not a number pass.
                first.lr * -tally.low < reach / 2 and first.lr * tally.high < reach / 2
                for tally in tallies
            ):
                done += [Taken(each.item, each.foreseen, None, 0, 0, 0, {}) for each, _ in taken]
                return False
            if not taken:
                return False
            done += [self._finish(each, tally, policy) for each, tally in taken]
            works = works[len(taken) :]
        return True

    def _run(
        self, part: Part, works: list[Work], grids: list[Grid], policy: Policy
    ) -> Sequence[Tally]:
        """Take steps in their order: all, or up to one after which others may need another grid."""
        if part.code is None:
            tally = _pass.run(part.items[0].direction, works[0], grids[0])
            return [] if tally is None else [tally]
        stops = not all(policy.independent(item.tensor) for item in part.items)
        return part.code.step(works, grids, leaves=part.leaves, stops=stops)

    def _finish(self, begun: Begun, tally: Tally, policy: Policy) -> Taken:
        """Take the step again if it vanished, and tell what it was."""
        item, work, version, foreseen = begun
        p, lr = item.p, item.lr
        needed = equation.needed(tally.low, tally.high, lr, p.dtype)
        resolution = policy.observe(item.tensor, needed)
        if resolution != foreseen:
            again = _pass.grid(lr, resolution, p)
            tally = _pass.repeat(item.direction, work, again, tally.left)
        for changed in (p, *work.state):
            torch.autograd.graph.increment_version(changed)
        most = tally.most
        if most is None:
            last, before = self._extents.get(p, (None, 0.0))
            longest = lr * max(-tally.low, tally.high) + 2.0 ** (1 - resolution)  # however rounded
            most = before + longest if last == version else None
        most, saturated = self._saturated(p, most)
        self._extents[p] = p._version, most
        names = dict(zip(item.direction.names, work.state, strict=True))
        left = 0 if tally.left is None else len(tally.left)
        return Taken(item, resolution, needed, tally.nonzero, saturated, left, names)

    def _saturated(self, w: Tensor, most: float | None) -> tuple[float, int]:
        """Return what no weight exceeds, and how many have left their format.

        Weights are looked at only where it is not known that they cannot have.
        """
        if self.bounds is None or (most is not None and most <= self.bounds[1]):
            return most or 0.0, 0
        parts = torch.split(w.detach().view(-1), _pass.piece())
        extents, found = zip(*(_pass.outside(part, self.bounds) for part in parts), strict=True)
        return max(extents), sum(
            int(torch.count_nonzero(ones)) for ones in found if ones is not None
        )

    def _undo(self, taken: Taken) -> None:
        item = taken.item
        grid = _pass.grid(item.lr, taken.resolution, item.p, self._reach(item.p))
        _pass.undo(item.direction, item.work(()), grid)

    def _clamps(self, p: Tensor) -> bool:
        """Return whether a step that was limited ends where the whole step would."""
        return self.weight is not None and self.weight.width <= equation.widest_fixed(p.dtype) - 2

    def _reach(self, p: Tensor) -> float:
        """Return the longest step whose differences from weights are exact."""
        assert self.weight is not None
        return 2.0 ** (equation.widest_fixed(p.dtype) - 2 - self.weight.fraction)


def _kind(item: Moving) -> object:
    return item.p.dtype, item.lr, item.direction, item.numbers


def _peak(tensors: Sequence[Tensor]) -> float:
    """Return what no magnitude exceeds, from sums of squares; infinity if one is not finite."""
    squares = [float(torch.dot(t, t)) for t in (t.detach().view(-1) for t in tensors)]
    if not all(map(math.isfinite, squares)):
        return math.inf
    return max(2.0 * math.sqrt(max(squares)), _TINY)


def _versions(state: tuple[Tensor, ...]) -> tuple[int, ...]:
    return tuple(t._version for t in state)
