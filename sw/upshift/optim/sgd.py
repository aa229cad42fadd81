"""Stochastic gradient descent whose steps are quantized at a resolution that rises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from upshift.device import Device
from upshift.formats import Fixed, Format
from upshift.optim._device_weights import Mirror
from upshift.optim._optimizer import QtOptimizer, check_not_negative
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
    nonfinite : {"raise", "skip"}
        What to do when a step is not finite: raise, or skip it whole, as loss scalers do.

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
        nonfinite: Literal["raise", "skip"] = "raise",
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
        )

    @staticmethod
    def _check_options(options: Mapping[str, Any]) -> None:
        check_not_negative(options, "lr", "momentum", "weight_decay")
        if options["nesterov"] and (options["momentum"] <= 0 or options["dampening"] != 0):
            raise ValueError("nesterov needs a momentum and no dampening")

    def _direction(self, p: Tensor, group: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        assert p.grad is not None
        h = -p.grad if group["maximize"] else p.grad
        if group["weight_decay"]:
            h = h.add(p, alpha=group["weight_decay"])
        if not group["momentum"]:
            return h, {}
        last = self.state.get(p, {}).get("momentum_buffer")
        if last is None:
            velocity = torch.clone(h)
        else:
            velocity = (last * group["momentum"]).add_(h, alpha=1 - group["dampening"])
        if group["nesterov"]:
            return h.add(velocity, alpha=group["momentum"]), {"momentum_buffer": velocity}
        return velocity, {"momentum_buffer": velocity}
