"""What the quantized optimizers hold: parameters, weights, a policy, and a state to be saved."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT, StateDict

from upshift.device import Device
from upshift.formats import Fixed, Format
from upshift.optim._device_weights import DeviceWeights, Mirror, hold
from upshift.optim._fused import Fused
from upshift.optim._streaming import Stream
from upshift.report import UpdateReport
from upshift.resolution import Policy

Nonfinite = Literal["raise", "skip", "leave"]
"""What to do when a step is not finite: see `QtSGD`."""


class Holder(Optimizer):
    """An optimizer without its steps; see `QtSGD` for the parameters."""

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
        nonfinite: Nonfinite,
        compiled: bool,
    ):
        if not isinstance(resolution, Policy):
            raise TypeError(f"resolution must be a policy such as Band(), not {resolution!r}")
        if nonfinite not in get_args(Nonfinite):
            raise ValueError(f"nonfinite {nonfinite!r} is not allowed: 'raise', 'skip' or 'leave'")
        self._check_options(defaults)
        self._weights = hold(
            weight, gradient, device, base=base, mirror=mirror, check_every=check_every
        )
        self._fused = Fused(self.weight, compiled)
        self._stream: Stream | None = None
        if isinstance(self._weights, DeviceWeights):
            resolution.check_device()
            self._stream = Stream(self._weights)
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

    @staticmethod
    @abstractmethod
    def _check_options(options: Mapping[str, Any]) -> None:
        """Raise ValueError if an option of a parameter group is not allowed."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a parameter group; its parameters go behind the others on a device."""
        super().add_param_group(param_group)
        try:
            self._check_options(self.param_groups[-1])
            if self._complete:
                self._hold(self.param_groups[-1]["params"])
        except Exception:
            self.param_groups.pop()
            raise

    @torch.no_grad()
    def _hold(self, parameters: list[Tensor]) -> None:
        self._weights.add(parameters)
        self._remember()

    def state_dict(self) -> StateDict:
        """Return the state, the policy's included under ``"resolution"``, as primitives.

        Waits for the device: see `collect`.
        """
        self.collect()
        state = super().state_dict()
        state["resolution"] = self.resolution.state_dict()
        return state

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Load what `state_dict` returned and encode the parameters as they are now."""
        state = dict(state_dict)
        if "resolution" not in state:
            raise ValueError("the state has no 'resolution': it is not of a quantized optimizer")
        for group in state["param_groups"]:
            # When torch loads a state, it adds an option of its own to the defaults.
            missing = sorted(self.defaults.keys() - group.keys() - {"differentiable"})
            if missing:
                raise ValueError(f"the state has no {missing[0]!r}: not of a {type(self).__name__}")
            self._check_options(group)
        self.collect()
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
        kept = {name: getattr(self, name) for name in names}
        kept["_fused"] = Fused(self.weight, self._fused.compiled)
        return super().__getstate__() | kept | {"_versions": {}, "_complete": True, "_stream": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "resolution" in state:  # a copy; load_state_dict passes through here too
            self.resolution.bind(self._fraction)

    # -- weights -----------------------------------------------------------------------------------

    @torch.no_grad()
    def sync(self) -> None:
        """Take the parameters' present values as the weights.

        They are encoded, and written to the device if there is one. Needed after writes through
        ``p.data``, which torch does not count as changes; other changes are noticed. After a
        `DeviceError` it makes the device equal to the parameters again.
        """
        self.collect()
        if self._stream is not None:
            self._stream.early.clear()
        self._load(self._parameters())

    def collect(self) -> None:
        """Wait until the device has done all steps, and compare what it reported.

        Call it after the last step with ``mirror="model"``, whose reports `step` compares one
        step later.

        Raises
        ------
        DeviceError
            If the device does not compute what the host does.
        """
        self._weights.collect()

    @property
    def device(self) -> Device | None:
        """The device that holds the weights, if one does."""
        return self._weights.device if isinstance(self._weights, DeviceWeights) else None

    @property
    def weight(self) -> Fixed | None:
        """Format of the weights; None for floating-point weights."""
        return self._weights.weight

    @property
    def gradient(self) -> Format | None:
        """Format that directions are encoded in; None if they are taken as they are."""
        return self._weights.gradient

    @property
    def _fraction(self) -> int | None:
        return None if self.weight is None else self.weight.fraction

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def _tensors(self) -> dict[Tensor, int]:
        return {p: tensor for tensor, p in enumerate(self._parameters())}

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


def check_not_negative(options: Mapping[str, Any], *names: str) -> None:
    """Raise ValueError unless some options are zero or positive numbers."""
    for name in names:
        if not 0 <= options[name] < math.inf:
            raise ValueError(f"{name} {options[name]} is not allowed: zero or a positive number")
