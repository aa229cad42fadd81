"""What may be done with a step instead of quantizing it.

Each arm of the ablation keeps one property of the quantized step and drops the others: its error
as independent noise, its dead zone without a grid, its grid with an error that is independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer

from upshift.equation import quantize
from upshift.resolution import Policy

Alternative = Callable[[Tensor, int, float, torch.Generator], Tensor]
"""From lambda * h of a tensor, q, lambda and random numbers, the step to take."""


def _uniform(step: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Add uniform noise of this deviation."""
    noise = torch.rand(step.shape, generator=generator) - 0.5
    return step + noise * (math.sqrt(12) * deviation)


def _gaussian(step: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Add Gaussian noise of this deviation."""
    return step + torch.randn(step.shape, generator=generator) * deviation


def nominal(q: int) -> float:
    """Return the deviation of the error of quantization, were it uniform: 2^-q / sqrt(12)."""
    return 2.0**-q / math.sqrt(12)


def measured(step: Tensor, q: int) -> float:
    """Return the root mean square of the error that quantization has on this very step."""
    return float((quantize(step, q) - step).double().square().mean().sqrt())


def dead_zone(step: Tensor, q: int) -> Tensor:
    """Drop the elements that quantization would make zero, and leave the others as they are."""
    return torch.where(quantize(step, q) == 0, 0.0, step)


def stochastic_rounding(step: Tensor, q: int, generator: torch.Generator) -> Tensor:
    """Round to one of the two neighbours on the grid, with the step as expectation."""
    chance = torch.rand(step.shape, generator=generator, dtype=torch.float64)
    return ((step.double() * 2.0**q + chance).floor() * 2.0**-q).to(step.dtype)


ALTERNATIVES: dict[str, Alternative] = {
    "uniform, nominal": lambda step, q, rate, random: _uniform(step, nominal(q), random),
    "Gaussian, nominal": lambda step, q, rate, random: _gaussian(step, nominal(q), random),
    "uniform, measured": lambda step, q, rate, random: _uniform(step, measured(step, q), random),
    "Gaussian, measured": lambda step, q, rate, random: _gaussian(step, measured(step, q), random),
    "dead zone": lambda step, q, rate, random: dead_zone(step, q),
    "stochastic rounding": lambda step, q, rate, random: stochastic_rounding(step, q, random),
    # Langevin's noise has the variance 2 lambda T; T = 1 / (24 Q_p^2) makes it that of
    # quantization where lambda is 1.
    "SGLD": lambda step, q, rate, random: _gaussian(step, math.sqrt(rate) * nominal(q), random),
}


class Alteration:
    """Makes an optimizer take other steps, by its hooks.

    The optimizer steps from zero, so that what it leaves is its step, exactly; the weights of
    before then take the other one.

    Parameters
    ----------
    optimizer : Optimizer
        Whose direction does not depend on the weights, and which does not quantize.
    alternative : callable
        See `Alternative`.
    policy : Policy
        Tells q; asked once for each tensor and step.
    seed : int
        Of the random numbers.

    Attributes
    ----------
    zero, elements : int
        How many elements of all steps were zero, and how many there were.
    square : float
        Sum of the squares of what the steps differ from those of the optimizer.
    """

    def __init__(
        self, optimizer: Optimizer, alternative: Alternative, policy: Policy, seed: int
    ) -> None:
        self.zero = self.elements = 0
        self.square = 0.0
        self._alternative, self._policy = alternative, policy
        self._random = torch.Generator().manual_seed(seed)
        self._tensors = [
            (p, float(group["lr"])) for group in optimizer.param_groups for p in group["params"]
        ]
        self._before: list[Tensor] = []
        optimizer.register_step_pre_hook(self._begin)
        optimizer.register_step_post_hook(self._end)

    @torch.no_grad()
    def _begin(self, *_: object) -> None:
        self._before = [p.clone() for p, _rate in self._tensors]
        for p, _rate in self._tensors:
            p.zero_()

    @torch.no_grad()
    def _end(self, *_: object) -> None:
        for tensor, ((p, rate), before) in enumerate(zip(self._tensors, self._before, strict=True)):
            step = -p
            taken = self._alternative(step, self._policy.observe(tensor, None), rate, self._random)
            self.elements += taken.numel()
            self.zero += taken.numel() - int(torch.count_nonzero(taken))
            self.square += float((taken - step).double().square().sum())
            p.copy_(before - taken)
