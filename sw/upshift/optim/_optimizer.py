"""How the quantized optimizers step: everything but the direction.

A step is taken in place where that is safe (`_fused`). Otherwise it first computes all directions
and checks them, then applies them tensor by tensor. Either way bad input leaves parameters, moments
and resolution as they were. With `streaming`, directions are computed and checked one by one during
backward.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, overload

import torch
from torch import Tensor

from upshift.optim._direction import Directed, Direction, Moving, scalars
from upshift.optim._holder import Holder
from upshift.optim._streaming import Stream
from upshift.report import UpdateReport


class QtOptimizer(Holder):
    """Base of `QtSGD` and `QtAdam`."""

    # -- what a subclass adds -----------------------------------------------------------------

    @abstractmethod
    def _rule(self, group: dict[str, Any]) -> Direction:
        """Return how the parameters of a group get their direction."""

    @abstractmethod
    def _numbers(self, group: dict[str, Any], last: dict[str, Any]) -> tuple[float, ...]:
        """Return the scalars of a direction, from the state of the parameter."""

    def _entries(self, last: dict[str, Any]) -> dict[str, Any]:
        """Return what a step changes in the state of a parameter beside tensors."""
        return {}

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Perform one optimization step.

        Parameters
        ----------
        closure : callable, optional
            Reevaluates the model and returns the loss.

        Raises
        ------
        ValueError
            If a gradient is not finite (and ``nonfinite="raise"``), or a device cannot apply a
            learning rate. Nothing has changed then, but for parameters whose bursts `streaming`
            had sent; the message names them.
        TypeError
            If a gradient is sparse.
        DeviceError
            If the device does not compute what the host does, which ``mirror="model"`` notices
            one step later at the latest; or if what a burst was made of changed after
            `streaming` had sent it.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()

        stream = self._stream
        if stream is not None:
            stream.check(self.param_groups, self.resolution)
        self._sync_changed()
        if self._step_fused():
            return loss
        try:
            work = self._work()
        except Exception:
            self._take_sent()
            raise
        if self.nonfinite == "skip" and any(_nonfinite(directed.h) for *_, directed in work):
            return loss

        try:
            for p, tensor, lr, directed in work:
                if stream is not None and p in stream.early:
                    self._report(p, stream.take(p, self.resolution), directed)
                elif lr != 0.0 and p.numel():
                    report = self._weights.update(p, tensor, directed.h, lr, self.resolution)
                    self._report(p, report, directed)
                if directed.entries:
                    self.state[p].update(directed.entries)
            self._weights.finish()
        finally:
            self._remember()
        return loss

    def _step_fused(self) -> bool:
        """Take the step in place and return True, or change nothing and return False."""
        if self.device is not None or self.gradient is not None:
            return False
        groups = [self._moving(group) for group in self.param_groups]
        rates, tensors = self._rates(groups), self._tensors()
        moving = [
            self._item(p, tensors[p], lr, group)
            for group, lr, parameters in zip(self.param_groups, rates, groups, strict=True)
            for p in parameters
        ]
        try:
            taken = self._fused.step(moving, self.resolution, leave=self.nonfinite == "leave")
        finally:
            self._remember()
        for one in taken or ():
            self.reports[one.item.p] = one.report
            state = one.state | one.item.entries
            if state:
                self.state[one.item.p].update(state)
        return taken is not None

    def _item(self, p: Tensor, tensor: int, lr: float, group: dict[str, Any]) -> Moving:
        last = self.state.get(p, {})
        return Moving(
            p,
            tensor,
            lr,
            self._rule(group),
            self._numbers(group, last),
            bool(group["weight_decay"]),
            last,
            self._entries(last),
        )

    def _report(self, p: Tensor, report: UpdateReport, directed: Directed) -> None:
        self.reports[p] = report._replace(nonfinite=report.nonfinite + directed.left)

    def _direction(self, p: Tensor, group: dict[str, Any]) -> Directed:
        """Return the direction of a parameter; change nothing."""
        assert p.grad is not None
        item = self._item(p, 0, 0.0, group)
        k, names, before = scalars(item.numbers, p), item.direction.names, item.state()
        nowhere = (None,) * len(names)
        state = item.direction.advance(p, p.grad, before, nowhere, k)
        h, left = item.direction(p, p.grad, state, k), 0
        if self.nonfinite == "leave" and (left := _nonfinite(h)):
            finite = h.isfinite()
            h = torch.where(finite, h, 0.0)
            state = tuple(
                torch.where(finite, new, old) for new, old in zip(state, before, strict=True)
            )
        return Directed(h, dict(zip(names, state, strict=True)) | item.entries, left)

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """Send bursts to the device while backward is still computing, with the same bits.

        ``with optimizer.streaming(): loss.backward()``, then `step`. Each parameter's direction
        is computed, checked and encoded as soon as its gradient is there. It is sent at once if
        its resolution cannot depend on other tensors (see `Policy.independent`), and by `step` in
        its turn otherwise. The parameters themselves change in `step`, as always.

        When gradients are accumulated over several backwards, only the last belongs inside.
        Nothing may change the gradients, learning rates or resolution between here and `step`:
        no clipping, no loss scaling.

        Raises
        ------
        ValueError
            If there is no device, or ``nonfinite="skip"``, since what was sent cannot be skipped;
            if a learning rate cannot be applied; from within backward, if a gradient is not
            finite.
        DeviceError
            From within backward, if a parameter gets a second gradient after its burst was sent.

        Notes
        -----
        When backward raises, parameters whose bursts were sent take their step, on the device
        and here, and the others do not. Messages of this method name them.
        """
        if self._stream is None:
            raise ValueError("streaming is for weights on a device, and there is none")
        if self.nonfinite == "skip":
            raise ValueError(
                "nonfinite 'skip' is not allowed with streaming: what was sent cannot be skipped"
            )
        learning = [[p for p in g["params"] if p.requires_grad] for g in self.param_groups]
        self._rates(learning)
        stream, tensors = self._stream, self._tensors()
        hooks = [
            p.register_post_accumulate_grad_hook(partial(self._begin, stream, tensors[p], group))
            for group, parameters in zip(self.param_groups, learning, strict=True)
            for p in parameters
        ]
        try:
            yield
        except BaseException:
            self._take_sent()
            raise
        finally:
            for hook in hooks:
                hook.remove()

    @torch.no_grad()
    def _begin(self, stream: Stream, tensor: int, group: dict[str, Any], p: Tensor) -> None:
        """Begin the step of a parameter whose gradient is complete, unless `step` has to."""
        assert p.grad is not None
        changed = self._versions[p] != p._version  # the device has to be told first
        if p.grad.is_sparse or changed or not p.numel() or not float(group["lr"]):
            return
        direction = self._direction(p, group)
        self._check_finite(p, tensor, direction.h)
        stream.begin(p, tensor, direction, group, self.resolution)

    @torch.no_grad()
    def _take_sent(self) -> None:
        """End a step that failed: take it where the device has, and nowhere else."""
        if self._stream is None:
            return
        early = self._stream.early
        try:
            for p, directed in {p: e.direction for p, e in early.items() if e.sent}.items():
                self._report(p, self._stream.take(p, self.resolution), directed)
                self.state[p].update(directed.entries)
        finally:
            early.clear()
            self._remember()

    def _work(self) -> list[tuple[Tensor, int, float, Directed]]:
        """Return each moving parameter's index, rate and direction, checked."""
        moving = [self._moving(group) for group in self.param_groups]
        tensors = self._tensors()
        early = {} if self._stream is None else self._stream.early
        groups = zip(self.param_groups, self._rates(moving), moving, strict=True)
        work = [
            (p, tensors[p], lr, early[p].direction if p in early else self._direction(p, group))
            for group, lr, parameters in groups
            for p in parameters
        ]
        if self.nonfinite == "raise":
            for p, tensor, _, directed in work:
                self._check_finite(p, tensor, directed.h)
        return work

    def _check_finite(self, p: Tensor, tensor: int, h: Tensor) -> None:
        bad = _nonfinite(h)
        if bad:
            done = "nothing was changed" if self._stream is None else self._stream.told()
            raise ValueError(
                f"the step of parameter {tensor} (shape {tuple(p.shape)}) is not finite "
                f"in {bad} of {h.numel()} elements; {done}"
            )

    def _rates(self, moving: list[list[Tensor]]) -> list[float]:
        """Return the learning rate of each group, all of them checked."""
        rates = [float(group["lr"]) for group in self.param_groups]
        for number, (lr, parameters) in enumerate(zip(rates, moving, strict=True)):
            where = f"parameter group {number}"
            if not 0 <= lr < math.inf:
                raise ValueError(f"{where}: lr {lr} is not allowed: zero or a positive number")
            if lr != 0.0 and parameters:
                self._weights.check_rate(lr, where)
        return rates

    def _moving(self, group: dict[str, Any]) -> list[Tensor]:
        """Return the parameters of a group that have a gradient, which must be dense."""
        moving = [p for p in group["params"] if p.grad is not None]
        if any(p.grad is not None and p.grad.is_sparse for p in moving):
            raise TypeError("a gradient is sparse: dense gradients allowed")
        return moving


def _nonfinite(h: Tensor) -> int:
    return h.numel() - int(torch.count_nonzero(h.isfinite()))
