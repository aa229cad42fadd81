"""Adam whose steps are quantized at a resolution that rises."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from upshift.device import Device
from upshift.formats import Fixed, Format
from upshift.optim._device_weights import Mirror
from upshift.optim._direction import root
from upshift.optim._holder import Nonfinite, check_not_negative
from upshift.optim._optimizer import QtOptimizer
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
    weight, gradient, device, base, mirror, check_every, nonfinite, compiled
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
        nonfinite: Nonfinite = "raise",
        compiled: bool = True,
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
            compiled=compiled,
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

    def _rule(self, group: dict[str, Any]) -> AdamDirection:
        decay, decoupled = bool(group["weight_decay"]), bool(group["decoupled_weight_decay"])
        return AdamDirection(
            bool(group["maximize"]),
            decay and not decoupled,
            decay and decoupled,
            bool(group["eps_before_correction"]),
        )

    def _entries(self, last: dict[str, Any]) -> dict[str, Any]:
        # A plain integer: as a float32 tensor it would stop at 2**24.
        return {"step": last.get("step", 0) + 1}

    def _numbers(self, group: dict[str, Any], last: dict[str, Any]) -> tuple[float, ...]:
        return numbers(group, self._entries(last)["step"])


@dataclass(frozen=True)
class AdamDirection:
    """h of Adam, one IEEE operation after the other.

    Attributes
    ----------
    maximize : bool
    coupled, decoupled : bool
        Whether weight decay is added to the gradient, or to h.
    early : bool
        Add epsilon before the bias correction.
    """

    maximize: bool
    coupled: bool
    decoupled: bool
    early: bool

    names: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq")

    def advance(
        self, w: Tensor, g: Tensor, state: tuple[Tensor, ...], out: Any, k: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        """Return the next moments, in the tensors `out` has."""
        g = -g if self.maximize else g
        if self.coupled:
            g = g + w * k[8]
        m, v = state
        m = torch.mul(m, k[0], out=out[0]).add_(g * k[1])
        v = torch.mul(v, k[2], out=out[1]).add_((g * g).mul_(k[3]))
        return m, v

    def __call__(
        self, w: Tensor, g: Tensor, state: tuple[Tensor, ...], k: tuple[Tensor, ...]
    ) -> Tensor:
        """Return h."""
        m, v = state
        c1, c2, both, eps, decay = k[4:]
        if self.early:
            h = (m / root(v).add_(eps)).mul_(both)
        else:  # by tensors: by a number, CUDA would multiply by the reciprocal
            h = (m / c1).div_(root(v / c2).add_(eps))
        return h.add_(w * decay) if self.decoupled else h

    def bound(
        self, w: float, g: float, state: float, numbers: tuple[float, ...]
    ) -> tuple[float, float]:
        """Return what magnitudes of h and of the next state do not exceed."""
        b1, a1, *_, c1, _, both, eps, decay = numbers
        m = state * b1 + (g + w * decay * self.coupled) * a1
        h = m / eps * (both if self.early else 1 / c1) if eps else math.inf
        return h + w * decay * self.decoupled, m


def numbers(options: Mapping[str, Any], t: int) -> tuple[float, ...]:
    """Return the scalars of the direction in step t, 1 or more, from the options of a group."""
    b1, b2 = options["betas"]
    c1, c2 = 1 - b1**t, 1 - b2**t
    both = math.sqrt(c2) / c1
    return b1, 1 - b1, b2, 1 - b2, c1, c2, both, options["eps"], options["weight_decay"]
