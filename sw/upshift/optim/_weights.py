"""Weights that live in an optimizer's parameters alone: as floats, or on a fixed-point grid."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from upshift import equation
from upshift.formats import Fixed, Format
from upshift.report import UpdateReport
from upshift.resolution import Policy


class HostWeights:
    """Weights held in the parameters, as floats or on the grid of a fixed-point format."""

    def __init__(self, weight: Fixed | None, gradient: Format | None):
        self.weight = weight
        self.gradient = gradient

    def add(self, parameters: list[Tensor]) -> None:
        """Take parameters in; raise if they cannot be held."""
        for p in parameters:
            self.check(p)
        for p in parameters:
            self.load(p)

    def load(self, p: Tensor) -> None:
        """Take the present values of a parameter, which were checked, as its weights."""
        if self.weight is not None:
            p.copy_(equation.encode(p, self.weight)[0])

    def check_rate(self, lr: float, where: str) -> None:
        """Raise unless the learning rate can be applied."""

    def update(self, p: Tensor, tensor: int, h: Tensor, lr: float, policy: Policy) -> UpdateReport:
        """Apply one step to a parameter and return its report."""
        rule = policy.rule
        scaled = equation.scale(equation.push(h, rule.push), lr, self.gradient)
        total = partial(equation.total, scaled.steps, rule=rule)
        resolution = policy.observe(tensor, scaled.needed, total)
        new, report = equation.apply(p, scaled, resolution, self.weight, rule)
        p.copy_(new)
        return report

    def finish(self) -> None:
        """End an optimizer step."""

    def collect(self) -> None:
        """Wait for whatever has not been compared yet: nothing here."""

    def check(self, p: Tensor) -> None:
        """Raise unless the parameter can be held as it is now."""
        if p.layout != torch.strided:
            raise TypeError(f"{p.layout} parameters are not allowed: dense ones")
        widest = equation.widest_fixed(p.dtype)
        if self.weight is None:
            return
        if self.weight.width > widest:
            raise ValueError(
                f"{p.dtype} parameters cannot hold weights of {self.weight.width} bits: "
                f"up to {widest} bits allowed, or 54 on torch.float64"
            )
        if not bool(p.isfinite().all()):
            raise ValueError(f"a parameter of shape {tuple(p.shape)} is not finite")
