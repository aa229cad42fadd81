"""What the quantized optimizers share: everything but the direction.

A step first computes all directions and checks them, then applies them tensor by tensor, so that
bad input leaves parameters, moments and resolution as they were.
"""

from __future__ import annotations

import math
import operator
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Literal, overload

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT, StateDict

from upshift.device import Device
from upshift.formats import Fixed, Float, Format
from upshift.optim._weights import DeviceWeights, HostWeights, Mirror
from upshift.report import UpdateReport
from upshift.resolution import Policy


class QtOptimizer(Optimizer):
    """Base of `QtSGD`; see there for the parameters."""

    def __init__(
        self,
        params: ParamsT,
        defaults: dict[str, Any],
        *,
        resolution: Policy,
        weight: Fixed | None,
        gradient: Format | None,
        device: Device | None,
        base: int,
        mirror: Mirror | None,
        check_every: int,
        nonfinite: Literal["raise", "skip"],
    ):
        if not isinstance(resolution, Policy):
            raise TypeError(f"resolution must be a policy such as Band(), not {resolution!r}")
        if nonfinite not in ("raise", "skip"):
            raise ValueError(f"nonfinite {nonfinite!r} is not allowed: 'raise' or 'skip'")
        if mirror not in (None, "read", "model"):
            raise ValueError(f"mirror {mirror!r} is not allowed: 'read' or 'model'")
        if operator.index(check_every) < 1:
            raise ValueError(f"check_every {check_every} is not allowed: 1 or more")
        for name, given, allowed in (
            ("weight", weight, Fixed),
            ("gradient", gradient, Fixed | Float),
            ("device", device, Device),
        ):
            if given is not None and not isinstance(given, allowed):
                raise TypeError(f"{name} {given!r} is a {type(given).__name__}, not a {name}")
        if device is None:
            if mirror is not None or base:
                raise ValueError("base and mirror are for weights on a device, and there is none")
            self._weights = HostWeights(weight, gradient)
        else:
            config = device.config
            for name, wanted, own in (
                ("weight", weight, config.weight),
                ("gradient", gradient, config.gradient),
            ):
                if wanted is not None and wanted != own:
                    raise ValueError(f"{name} format {wanted} differs from the device's {own}")
            self._weights = DeviceWeights(
                device, operator.index(base), mirror or "read", check_every
            )
        self.resolution = resolution
        self.nonfinite = nonfinite
        self.reports: dict[Tensor, UpdateReport] = {}
        self._versions: dict[Tensor, int] = {}
        self._complete = False
        resolution.bind(self._fraction)
        try:
            super().__init__(params, defaults)
            self._hold(self._parameters())  # all groups at once, or none
        except Exception:
            resolution.release()
            raise
        self._complete = True

    # -- what a subclass adds -----------------------------------------------------------------

    @abstractmethod
    def _direction(self, p: Tensor, group: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return h, and the new entries of the parameter's state; change nothing."""

    # -- torch.optim.Optimizer ----------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a parameter group; its parameters go behind the others on a device."""
        super().add_param_group(param_group)
        if not self._complete:
            return
        try:
            self._hold(self.param_groups[-1]["params"])
        except Exception:
            self.param_groups.pop()
            raise

    @torch.no_grad()
    def _hold(self, parameters: list[Tensor]) -> None:
        self._weights.add(parameters)
        self._remember()

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
            learning rate. Nothing has changed then.
        TypeError
            If a gradient is sparse.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()

        self._sync_changed()
        work = [
            (p, lr, *self._direction(p, group))
            for group, lr in zip(self.param_groups, self._rates(), strict=True)
            for p in self._moving(group)
        ]
        indices = {p: index for index, p in enumerate(self._parameters())}
        for p, _, h, _ in work:
            bad = h.numel() - int(torch.count_nonzero(h.isfinite()))
            if bad and self.nonfinite == "skip":
                return loss
            if bad:
                raise ValueError(
                    f"the step of parameter {indices[p]} (shape {tuple(p.shape)}) is not finite "
                    f"in {bad} of {h.numel()} elements; nothing was changed"
                )

        for p, lr, h, state in work:
            if lr != 0.0 and p.numel():
                self.reports[p] = self._weights.update(p, indices[p], h, lr, self.resolution)
            if state:
                self.state[p].update(state)
        self._weights.finish()
        self._remember()
        return loss

    def _rates(self) -> list[float]:
        """Return the learning rate of each group, all of them checked."""
        rates = [float(group["lr"]) for group in self.param_groups]
        for number, (group, lr) in enumerate(zip(self.param_groups, rates, strict=True)):
            where = f"parameter group {number}"
            if not 0 <= lr < math.inf:
                raise ValueError(f"{where}: lr {lr} is not allowed: zero or a positive number")
            if lr != 0.0 and self._moving(group):
                self._weights.check_rate(lr, where)
        return rates

    def _moving(self, group: dict[str, Any]) -> list[Tensor]:
        """Return the parameters of a group that have a gradient, which must be dense."""
        moving = [p for p in group["params"] if p.grad is not None]
        if any(p.grad is not None and p.grad.is_sparse for p in moving):
            raise TypeError("a gradient is sparse: dense gradients allowed")
        return moving

    def state_dict(self) -> StateDict:
        """Return the state, the policy's included under ``"resolution"``, as primitives."""
        state = super().state_dict()
        state["resolution"] = self.resolution.state_dict()
        return state

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Load what `state_dict` returned and encode the parameters as they are now."""
        state = dict(state_dict)
        if "resolution" not in state:
            raise ValueError("the state has no 'resolution': it is not of a quantized optimizer")
        before = self.resolution.state_dict()
        self.resolution.load_state_dict(state.pop("resolution"))
        try:
            super().load_state_dict(state)
        except Exception:
            self.resolution.load_state_dict(before)
            raise
        self.sync()

    def __getstate__(self) -> dict[str, Any]:
        if isinstance(self._weights, DeviceWeights):
            raise TypeError(
                "an optimizer that drives a device cannot be copied or pickled: "
                "save its state_dict()"
            )
        names = ("_weights", "resolution", "nonfinite", "reports")
        state = super().__getstate__()
        return (
            state
            | {name: getattr(self, name) for name in names}
            | {"_versions": {}, "_complete": True}
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "resolution" in state:  # a copy; load_state_dict passes through here too
            self.resolution.bind(self._fraction)

    # -- weights -----------------------------------------------------------------------------------

    @torch.no_grad()
    def sync(self) -> None:
        """Take the parameters' present values as the weights.

        They are encoded, and written to the device if there is one. Needed after writes through
        ``p.data``, which torch does not count as changes; other changes are noticed.
        """
        self._load(self._parameters())

    @property
    def _fraction(self) -> int | None:
        weight = self._weights.weight
        return None if weight is None else weight.fraction

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def _sync_changed(self) -> None:
        self._load([p for p in self._parameters() if self._versions.get(p) != p._version])

    def _load(self, parameters: list[Tensor]) -> None:
        for p in parameters:
            self._weights.check(p)
        for p in parameters:
            self._weights.load(p)
        self._remember()

    def _remember(self) -> None:
        self._versions = {p: p._version for p in self._parameters()}
