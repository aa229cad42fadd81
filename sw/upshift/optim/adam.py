"""Adam whose steps are quantized at a resolution that rises."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from upshift.device import Device
from upshift.formats import Fixed, Format
from upshift.optim._device_weights import Mirror
from upshift.optim._optimizer import QtOptimizer, check_not_negative
from upshift.resolution import Policy


class QtAdam(QtOptimizer):
    r"""Quantized Adam, defined to the bit.

    .. math::
        m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad
        v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
        h = \frac{m / c_1}{\sqrt{v / c_2} + \epsilon}, \quad
        w \leftarrow w - Q(\lambda h)

    with :math:`c_i = 1 - \beta_i^t` and t the steps of this parameter. The moments m and v are
    floating-point tensors on the host, also where a device holds the weights. The resolution q of
    the quantizer Q comes from a policy and never falls; call ``resolution.step()`` once per epoch.

    Parameters
    ----------
    params : iterable
        Parameters or parameter groups, float32 or float64. Groups share one resolution.
    lr : float
        Learning rate. Devices take powers of two up to 1, and 0.
    betas : tuple of float
        Decay of the two moments, 0 to 1 without 1.
    eps : float
        Added to the denominator.
    resolution : Policy
        Such as ``Band()`` or ``Constant(12)``; belongs to this optimizer from now on.
    weight_decay : float
        Added times w to the gradient; to h if decoupled.
    decoupled_weight_decay : bool
        Decay weights apart from the moments, as AdamW does. Quantized together with the step.
    eps_before_correction : bool
        Add epsilon before the bias correction: ``h = m / (sqrt(v) + eps) * (sqrt(c2) / c1)``.
    maximize : bool
        Ascend.
    weight, gradient, device, base, mirror, check_every, nonfinite
        As in `QtSGD`.

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
    Each operation is one IEEE operation in the parameter's dtype, in the order of the formulas;
    ``1 - b1``, ``1 - b2``, c1 and c2 are computed in double precision and rounded once. So NumPy
    gets the same bits, which torch's own kernels (fused multiplication and addition, square roots
    that are not correctly rounded) do not give.

    A gradient whose square overflows makes v infinite for good and its steps zero, as in
    `torch.optim.Adam`.

    Examples
    --------
    >>> import torch
    >>> from upshift.formats import Fixed
    >>> from upshift.optim import Band, QtAdam
    >>> model = torch.nn.Linear(4, 2)
    >>> optimizer = QtAdam(model.parameters(), lr=2**-7, resolution=Band(), weight=Fixed(18, 16))
    >>> model(torch.ones(1, 4)).sum().backward()
    >>> optimizer.step()
    >>> optimizer.resolution.step()  # once per epoch
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        resolution: Policy,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        eps_before_correction: bool = False,
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
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "eps_before_correction": eps_before_correction,
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

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group["betas"] = tuple(group["betas"])  # files may have made it a list

    @staticmethod
    def _check_options(options: Mapping[str, Any]) -> None:
        check_not_negative(options, "lr", "eps", "weight_decay")
        betas = options["betas"]
        pair = isinstance(betas, tuple | list) and len(betas) == 2
        if not pair or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas {betas} are not allowed: two numbers, 0 to 1 without 1")

    def _direction(self, p: Tensor, group: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        assert p.grad is not None
        g = -p.grad if group["maximize"] else p.grad
        decay, decoupled = group["weight_decay"], group["decoupled_weight_decay"]
        if decay and not decoupled:
            g = g + p * decay
        last = self.state.get(p, {})
        # A plain integer: as a float32 tensor it would stop at 2**24.
        t = last.get("step", 0) + 1
        m, v = moments(g, last.get("exp_avg"), last.get("exp_avg_sq"), group["betas"])
        h = direction(m, v, t, group["betas"], group["eps"], early=group["eps_before_correction"])
        if decay and decoupled:
            h += p * decay
        return h, {"step": t, "exp_avg": m, "exp_avg_sq": v}


def moments(
    g: Tensor, m: Tensor | None, v: Tensor | None, betas: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Return Adam's next moments of the gradient g; those before are None at first."""
    b1, b2 = betas
    m = torch.zeros_like(g) if m is None else m * b1
    v = torch.zeros_like(g) if v is None else v * b2
    return m.add_(g * (1 - b1)), v.add_((g * g).mul_(1 - b2))


def direction(
    m: Tensor, v: Tensor, t: int, betas: tuple[float, float], eps: float, *, early: bool
) -> Tensor:
    """Return Adam's direction from the moments after t steps.

    Parameters
    ----------
    m, v : Tensor of float32 or float64, same shape
        Not changed.
    t : int
        1 or more.
    betas, eps
        As in `QtAdam`.
    early : bool
        Add epsilon before the bias correction.
    """
    c1, c2 = (1 - beta**t for beta in betas)
    if early:
        return (m / _sqrt_(v.clone()).add_(eps)).mul_(math.sqrt(c2) / c1)
    # As tensors: by a number, CUDA would multiply by the reciprocal.
    return (m / m.new_full((), c1)).div_(_sqrt_(v / v.new_full((), c2)).add_(eps))


def _sqrt_(x: Tensor) -> Tensor:
    """Replace x by its correctly rounded square root, and return it.

    Torch's own is not correctly rounded on CPUs, neither in float32 nor in float64.
    """
    if x.device.type == "cpu":
        np.sqrt(x.numpy(), out=x.numpy())
        return x
    return x.copy_(x.double().sqrt_())  # of a float32 the root of a double, rounded, is right
