"""How optimizers come from gradients to the direction h, and what a step of a tensor is made of."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from upshift.report import UpdateReport


class Direction(Protocol):
    """How an optimizer comes from gradients to the direction h; hashable, without tensors.

    Scalars `k` are tensors of no dimension, rounded to the dtype once.
    """

    def __hash__(self) -> int:
        """Equal directions compute the same."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the state's tensors."""

    def advance(
        self, w: Tensor, g: Tensor, state: tuple[Tensor, ...], out: Any, k: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        """Return the next state, in the tensors `out` unless they are None."""

    def bound(
        self, w: float, g: float, state: float, numbers: tuple[float, ...]
    ) -> tuple[float, float]:
        """Return what magnitudes of h and of the next state do not exceed."""

    def __call__(
        self, w: Tensor, g: Tensor, state: tuple[Tensor, ...], k: tuple[Tensor, ...]
    ) -> Tensor:
        """Return h, from the state after this gradient."""


class Directed(NamedTuple):
    """What the careful way knows of a parameter before its step.

    Attributes
    ----------
    h : Tensor
    entries : dict
        What the step changes in the state.
    left : int
        Weights that stay as they are, h being zero there since it was not finite.
    """

    h: Tensor
    entries: dict[str, Any]
    left: int


class Moving(NamedTuple):
    """A parameter and what its step is made of.

    Attributes
    ----------
    p : Tensor
        The parameter; it has a dense gradient.
    tensor : int
        Its index in the optimizer.
    lr : float
        Its learning rate.
    direction : Direction
    numbers : tuple of float
        Scalars of the direction.
    decays : bool
        Whether its weights enter the direction.
    last : dict
        Its state before the step.
    entries : dict
        What the step changes in the state beside tensors.
    """

    p: Tensor
    tensor: int
    lr: float
    direction: Direction
    numbers: tuple[float, ...]
    decays: bool
    last: dict[str, Any]
    entries: dict[str, Any]

    @property
    def plain(self) -> bool:
        """Whether the direction comes from the gradient alone."""
        return not self.direction.names and not self.decays

    def state(self) -> tuple[Tensor, ...]:
        """Return the tensors of the state; zeros if there are none yet."""
        if all(name in self.last for name in self.direction.names):
            return tuple(self.last[name] for name in self.direction.names)
        assert self.p.grad is not None
        return tuple(torch.zeros_like(self.p.grad) for _ in self.direction.names)

    def work(self, state: tuple[Tensor, ...]) -> Work:
        """Return what a pass works on, from the state before the step."""
        assert self.p.grad is not None
        return Work(self.p, self.p.grad, state, self.numbers)


class Taken(NamedTuple):
    """A step that was taken.

    Attributes
    ----------
    item : Moving
    resolution : int
        q.
    needed : int or None
        q_min.
    nonzero, saturated, left : int
        Counters.
    state : dict
        Its tensors, by name.
    """

    item: Moving
    resolution: int
    needed: int | None
    nonzero: int
    saturated: int
    left: int
    state: dict[str, Tensor]

    @property
    def report(self) -> UpdateReport:
        """The report of the step."""
        elements = self.item.p.numel()
        return UpdateReport(elements, self.nonzero, self.saturated, self.left, 0, self.needed)


class Work(NamedTuple):
    """What a pass works on: contiguous tensors of one length, and scalars of the direction."""

    w: Tensor
    g: Tensor
    state: tuple[Tensor, ...]
    numbers: tuple[float, ...]

    def pieces(self, length: int) -> list[Work]:
        """Return the work in pieces, of one dimension."""
        flat = (t.detach().view(-1) for t in (self.w, self.g, *self.state))
        tensors = zip(*(torch.split(t, length) for t in flat), strict=True)
        return [Work(w, g, tuple(state), self.numbers) for w, g, *state in tensors]


def scalars(values: tuple[float, ...], like: Tensor) -> tuple[Tensor, ...]:
    """Return numbers as tensors of no dimension, rounded to the dtype of a tensor."""
    return torch.tensor(values, dtype=like.dtype, device=like.device).unbind()


def root(x: Tensor) -> Tensor:
    """Return the correctly rounded square root, which torch's own is not on CPUs.

    Neither is torch's in float32 nor in float64; native code takes the processor's.
    """
    if not isinstance(x, Tensor):
        return torch.sqrt(x)  # a symbol, which native code is made of
    if x.device.type == "cpu":
        result = torch.empty_like(x)
        np.sqrt(x.numpy(), out=result.numpy())
        return result
    return x.double().sqrt().to(x.dtype)  # of a float32 the root of a double, rounded, is right
