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

import math
from typing import NamedTuple

import torch
from torch import Tensor

from upshift import equation
from upshift.formats import Fixed
from upshift.optim import _native, _pass
from upshift.optim._direction import Moving, Taken
from upshift.optim._pack import SMALL, Pack, Scratch, divide
from upshift.optim._pass import Code
from upshift.resolution import Policy, Rule
from upshift.resolution._policy import HIGHEST

_LARGE = 2.0**60  # squares of gradients are finite, and so are rates at any resolution
_LARGEST = 2.0**120
_TINY = 2.0**-60  # smaller numbers may have squares of zero


class Part(NamedTuple):
    """Tensors that take their step together: one, or a pack.

    Attributes
    ----------
    items : list of Moving
    pack : Pack, optional
    code : Code, optional
        Native code of the pass.
    tried : bool
        The pass takes the step without knowing whether it is good.
    leaves : bool
        The pass leaves weights as they are whose direction is not finite.
    """

    items: list[Moving]
    pack: Pack | None
    code: Code | None
    tried: bool
    leaves: bool


class Fused:
    """Takes steps in place, and remembers how large the state can be.

    Parameters
    ----------
    weight : Fixed or None
        Format of the weights.
    compiled : bool or None
        Whether to use native code; None for tensors that are worth it.
    """

    def __init__(self, weight: Fixed | None, compiled: bool | None):
        self.weight = weight
        self.compiled = compiled
        self.bounds: _pass.Bounds = None
        if weight is not None:
            unit = 2.0**-weight.fraction
            self.bounds = weight.min * unit, weight.max * unit
        self._peaks: dict[Tensor, tuple[tuple[Tensor, ...], tuple[int, ...], float]] = {}
        self._extents: dict[Tensor, tuple[int, float]] = {}
        self._packs: dict[int, Pack] = {}
        self._scratch = Scratch()

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
        parts = [self._part(items, tries, leave) for items in divide(moving)]
        tries = any(part.tried for part in parts)
        peaks = [0.0 if part.tried or part.leaves else self._look(part, tries) for part in parts]
        if math.inf in peaks:
            return None
        before = policy.state_dict() if tries else {}
        done: list[Taken] = []
        for part, peak in zip(parts, peaks, strict=True):
            taken = (
                self._single(part, policy)
                if part.pack is None
                else part.pack.step(part.items, self.bounds, policy)
            )
            if taken is None:
                for one in done:
                    self._undo(one)
                policy.load_state_dict(before)
                return None
            state = part.pack.state if part.pack is not None else tuple(taken[0].state.values())
            if not part.leaves:
                self._peaks[part.items[0].p] = state, _versions(state), peak
            done += taken
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
        tensors = (g, *(item.last[name] for name in item.direction.names if name in item.last))
        same = all(t.dtype == p.dtype and t.shape == p.shape for t in tensors)
        return same and all(t.is_cpu and t.is_contiguous() for t in (p, *tensors))

    def _part(self, items: list[Moving], tries: bool, leave: bool) -> Part:
        if len(items) > 1:
            return Part(items, self._pack(items), None, tried=False, leaves=False)
        p, direction, length = items[0].p, items[0].direction, len(items[0].numbers)
        worth = p.numel() > SMALL if self.compiled is None else self.compiled
        code = None
        if worth and p.numel() < _native.LONGEST:
            code = _native.code(direction, p.dtype, length)
        leaves = leave and code is not None and self._clamps(p)
        return Part(items, None, code, tried=tries, leaves=leaves)

    def _pack(self, items: list[Moving]) -> Pack:
        """Return the pack of some tensors, the one of the step before if they are the same."""
        pack = self._packs.get(items[0].tensor)
        if pack is None or not pack.holds(items):
            pack = self._packs[items[0].tensor] = Pack(items, self._scratch)
        return pack

    def _look(self, part: Part, tries: bool) -> float:
        """Return what the state can be at most after the step; infinity if something overflows."""
        first = part.items[0]
        p, g, lr, direction = first.p, first.p.grad, first.lr, first.direction
        state = tuple(first.last[name] for name in direction.names if name in first.last)
        if part.pack is not None:
            part.pack.gather(part.items)
            g, state = part.pack.g, part.pack.state
        assert g is not None
        look = _peak if part.code is None else part.code.peak
        peak = look(g)
        if not peak < _LARGE:  # nor if it is not a number
            return math.inf
        tensors, versions, before = self._peaks.get(p, ((), (), 0.0))
        if versions != _versions(state) or any(
            a is not b for a, b in zip(tensors, state, strict=True)
        ):
            before = max(map(look, state), default=0.0)
        w = 0.0
        if first.decays:
            w = -self.bounds[0] if self.bounds is not None else max(_peak(i.p) for i in part.items)
        h, after = direction.bound(w, peak, before, first.numbers)
        if tries and not lr * h < self._reach(p) / 2:
            return math.inf  # the step could not be taken back
        steps = h * max(1.0, lr * 2.0 ** (HIGHEST + 1))  # at whatever resolution
        return after if max(steps, before, after) < _LARGEST else math.inf

    def _single(self, part: Part, policy: Policy) -> list[Taken] | None:
        (item,) = part.items
        p, tensor, lr = item.p, item.tensor, item.lr
        version, state = p._version, item.state()
        work = item.work(state)
        foreseen = policy.foreseen(tensor)
        assert foreseen is not None
        reach = self._reach(p) if part.tried or part.leaves else 0.0
        grid = _pass.grid(lr, foreseen, p, reach)
        if part.code is not None:
            tally = part.code.step(work, grid, leaves=part.leaves)
        else:
            told = _pass.run(item.direction, work, grid)
            if told is None:
                return None
            tally = told
        # Both sides, since `max` would let one that is not a number pass.
        good = lr * -tally.low < reach / 2 and lr * tally.high < reach / 2
        if part.tried and not good:
            _pass.undo(item.direction, work, grid)
            return None
        needed = equation.needed(tally.low, tally.high, lr, p.dtype)
        resolution = policy.observe(tensor, needed)
        if resolution != foreseen:
            grid = _pass.grid(lr, resolution, p)
            tally = _pass.repeat(item.direction, work, grid, leaves=bool(tally.left))._replace(
                left=tally.left
            )
        torch.autograd.graph.increment_version(p)
        most = tally.most
        if most is None:
            last, before = self._extents.get(p, (None, 0.0))
            longest = lr * max(-tally.low, tally.high) + 2.0 * grid.down  # however it was rounded
            most = before + longest if last == version else None
        most, saturated = self._saturated(work.w, most)
        self._extents[p] = p._version, most
        names = dict(zip(item.direction.names, state, strict=True))
        return [Taken(item, resolution, needed, tally.nonzero, saturated, tally.left, names)]

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


def _peak(t: Tensor) -> float:
    """Return what no magnitude exceeds: the root of a sum of squares; not finite if one is not."""
    flat = t.detach().view(-1)
    square = float(torch.dot(flat, flat))
    return max(2.0 * math.sqrt(square), _TINY) if math.isfinite(square) else math.inf


def _versions(state: tuple[Tensor, ...]) -> tuple[int, ...]:
    return tuple(t._version for t in state)
