"""Stochastic gradient descent whose steps are quantized at a resolution that rises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from upshift.device import Device
from upshift.formats import Fixed, Format
from upshift.optim._device_weights import Mirror
from upshift.optim._holder import Nonfinite, check_not_negative
from upshift.optim._optimizer import QtOptimizer
from upshift.resolution import Policy


class QtSGD(QtOptimizer):
    r"""Quantized stochastic gradient descent.

    .. math::
        w \leftarrow w - Q(\lambda h), \qquad
        Q(x) = \lfloor 2^q x + 1/2 \rfloor / 2^q

    h is what `torch.optim.SGD` multiplies by the learning rate: momentum, dampening, Nesterov
    and L2 weight decay included. The whole step is quantized, not the gradient and not the
    weight. The resolution q comes from a policy and never falls; call ``resolution.step()`` once
    per epoch, beside the learning-rate scheduler's.

    Parameters
    ----------
    params : iterable
        Parameters or parameter groups, float32 or float64. Groups share one resolution.
    lr : float
        Learning rate. Devices take powers of two up to 1, and 0.
    resolution : Policy
        Such as ``Band()`` or ``Constant(12)``; belongs to this optimizer from now on.
    momentum, dampening, weight_decay, nesterov, maximize
        As in `torch.optim.SGD`.
    weight : Fixed, optional
        Keep parameters on this grid, saturating; they are encoded in place at once. At most 25
        bits on float32 parameters, 54 on float64. None keeps floating-point weights.
    gradient : Fixed, bfloat16 or float32, optional
        Encode h in this format before the step. None takes it as it is.
    device : Device, optional
        Let this device hold and update the weights; the formats are then its own.
    base : int
        Address of the first weight on the device.
    mirror : {"read", "model"}, optional
        Keep the parameters equal to the device by reading it back after every step, or by
        computing the same step here and comparing the counters of every burst, at the latest one
        step later. Left out, "model" for distant devices, which should not be waited for, and
        "read" for others. With "model", call `collect` after the last step.
    check_every : int
        With ``mirror="model"``: steps between comparisons of all weights, by a checksum.
    nonfinite : {"raise", "skip", "leave"}
        What to do when a direction is not finite: raise, or skip the step whole, as loss scalers
        do; or leave those weights and their state as they are, as the update unit does, and count
        them in the reports.
    compiled : bool
        Take steps in native code, with the same bits. Compiling it takes a second, once on a
        machine; without a C++ compiler there is none.

    Attributes
    ----------
    reports : dict
        The last `UpdateReport` of each parameter.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, or the parameters do not fit the device.

    Notes
    -----
    Seok & Kim, arXiv 2112.13006, there called QSGD; that name is better known for another method
    (Alistarh et al., 2017).

    Each operation is one IEEE operation in the parameter's dtype, as `QtAdam` has it too; where
    `torch.optim.SGD` fuses products into sums, and products are not exact, its last bit may differ.

    A step whose elements all lie within half a grid step of zero changes nothing:
    ``abs(lambda * h) < 2**-(q+1)`` is the dead zone. `Band` raises q when a whole tensor falls
    into it, up to its limit: small learning rates need a higher one, such as
    ``Band(limit=weight.fraction)``.

    Examples
    --------
    >>> import torch
    >>> from upshift.formats import Fixed
    >>> from upshift.optim import Band, QtSGD
    >>> model = torch.nn.Linear(4, 2)
    >>> optimizer = QtSGD(model.parameters(), lr=2**-3, resolution=Band(), weight=Fixed(18, 16))
    >>> model(torch.ones(1, 4)).sum().backward()
    >>> optimizer.step()
    >>> optimizer.resolution.step()  # once per epoch
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        *,
        resolution: Policy,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        maximize: bool = False,
        weight: Fixed | None = None,
        gradient: Format | None = None,
        device: Device | None = None,
        base: int = 0,
        mirror: Mirror | None = None,
        check_every: int = 100,
        nonfinite: Nonfinite = "raise",
        compiled: bool = True,
    ):
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(
            params,
            defaults,
            resolution=resolution,
            weight=weight,
            gradient=gradient,
            device=device,
            base=base,
            mirror=mirror,
            check_every=check_every,
            nonfinite=nonfinite,
            compiled=compiled,
        )

    @staticmethod
    def _check_options(options: Mapping[str, Any]) -> None:
        check_not_negative(options, "lr", "momentum", "weight_decay")
        if options["nesterov"] and (options["momentum"] <= 0 or options["dampening"] != 0):
            raise ValueError("nesterov needs a momentum and no dampening")

    def _rule(self, group: dict[str, Any]) -> SGDDirection:
        return SGDDirection(
            bool(group["maximize"]),
            bool(group["weight_decay"]),
            bool(group["momentum"]),
            bool(group["nesterov"]),
        )

    def _numbers(self, group: dict[str, Any], last: dict[str, Any]) -> tuple[float, ...]:
        gain = 1.0 - group["dampening"] if "momentum_buffer" in last else 1.0  # at first it is h
        return group["weight_decay"], group["momentum"], gain


@dataclass(frozen=True)
class SGDDirection:
    """h of stochastic gradient descent, one IEEE operation after the other."""

    maximize: bool
    decay: bool
    momentum: bool
    nesterov: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the state's tensors."""
        return ("momentum_buffer",) if self.momentum else ()

    def _decayed(self, w: Tensor, g: Tensor, k: tuple[Tensor, ...]) -> Tensor:
        g = -g if self.maximize else g
        return g + w * k[0] if self.decay else g

    def advance(
        self, w: Tensor, g: Tensor, state: tuple[Tensor, ...], out: Any, k: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        """Return the next velocity, in the tensor `out` has."""
        if not self.momentum:
            return ()
        _, momentum, gain = k
        gained = self._decayed(w, g, k) * gain
        return (torch.mul(state[0], momentum, out=out[0]).add_(gained),)

    def __call__(
        self, w: Tensor, g: Tensor, state: tuple[Tensor, ...], k: tuple[Tensor, ...]
    ) -> Tensor:
        """Return h."""
        if not self.momentum:
            return self._decayed(w, g, k)
        if self.nesterov:
            return self._decayed(w, g, k) + state[0] * k[1]
        return state[0]

    def bound(
        self, w: float, g: float, state: float, numbers: tuple[float, ...]
    ) -> tuple[float, float]:
        """Return what magnitudes of h and of the next state do not exceed."""
        decay, momentum, gain = numbers
        g += w * decay
        velocity = state * momentum + g * abs(gain)
        return max(g, velocity, g * self.nesterov + velocity * momentum), velocity
