"""What the authors' published experiments ran, to repeat them and to see what they show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from upshift.resolution._policy import HIGHEST, Policy, Total, check_int
from upshift.resolution._rule import Rule


class Authors(Policy):
    """Resolution as in the authors' public code, whose schedule was off: software only.

    It differs from `Band` in three ways. Steps are taken as ``w + Q(-lambda h)``, which rounds
    ties the other way. A tensor raises q as long as the *sum* of its quantized step is zero,
    whether or not the step is. And there is no schedule: nothing else raises q.

    Softmax with cross-entropy gives the bias of the last layer a gradient whose sum is zero by
    construction, so there q runs to its limit within tens of mini-batches, or some hundreds at
    large learning rates; quantization is then as good as switched off.

    Parameters
    ----------
    q : int
        Resolution index at the start, 0 to 64.
    limit : int
        Cap of q; the weights' fraction bits if they are fewer. A tensor whose gradient is zero
        runs to it at once.

    Notes
    -----
    For their Adam, use ``QtAdam(..., eps=1e-6, eps_before_correction=True)``. Two details are
    not repeated: their sum is one of floats, this one is exact; and their SGD did not test its
    very first step.
    """

    def __init__(self, q: int = 2, *, limit: int = 33):
        super().__init__(q)
        check_int("limit", limit, q, HIGHEST)
        self.limit = limit

    @property
    def rule(self) -> Rule:
        """Ties down."""
        return Rule(rounding="half down")

    def step(self) -> None:
        """Begin the next epoch: nothing changes."""

    def observe(self, tensor: int, needed: int | None, total: Total | None = None) -> int:
        """Return the q to quantize a tensor with, after raising it while the sum is zero."""
        if total is None:
            raise TypeError("Authors needs the sum of the step, which nobody gave")
        limit = self.limit if self._fraction is None else min(self.limit, self._fraction)
        while self.q < limit and total(self.q) == 0:
            self.q += 1
            self._count_vanish(tensor, 1)
        return self.q

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state as primitives."""
        return super().state_dict() | {"limit": self.limit}

    @classmethod
    def _from_state(cls, state: Mapping[str, Any]) -> Authors:
        return cls(state["q"], limit=state["limit"])
