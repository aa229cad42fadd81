"""The published schedule, with the vanish rule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from upshift.resolution._policy import HIGHEST, Policy, Total, check_int


class Band(Policy):
    """The published schedule: q follows the lower edge of a band that rises with log log t.

    At the start of epoch t (t = 0 at construction) q becomes at least ``ceil(inf q(t))``, with

        sup q(t) = 1/2 log2( n ln(t+2) / (24 C) ),    inf q(t) = sup q(t) - beta / (t+2).

    With `vanish`, a tensor whose whole quantized step would be zero raises q to its q_min, up to
    the limit. On small networks the first tensors do that within the first steps, and the
    schedule then has nothing left to do: switch it off to see the schedule itself.

    Parameters
    ----------
    q : int
        Resolution index at the start, 0 to 64.
    limit : int, optional
        Cap of q. Left out, it is ``ceil(sup q(t))``, and the weights' fraction bits if they are
        fewer.
    vanish : bool
        Raise q for tensors whose step would vanish.
    n : int
        Dimension of the noise vector, positive.
    C : float
        Constant of the annealing bound sigma(t) >= C / ln(t+2), positive.
    beta : float
        Width of the band at the start, not negative.
    per_tensor : bool
        Let the vanish rule raise q for that tensor alone.

    Attributes
    ----------
    t : int
        Epochs so far.

    Notes
    -----
    Seok & Kim, arXiv 2112.13006, eq. (9) to (12), as in the authors' code, which takes b = 2 and
    eta = 1. No integer may lie inside the band; the lower edge wins.
    """

    def __init__(
        self,
        q: int = 2,
        *,
        limit: int | None = None,
        vanish: bool = True,
        n: int = 64,
        C: float = 1e-6,  # noqa: N803  (the paper's name)
        beta: float = 20.0,
        per_tensor: bool = False,
    ):
        super().__init__(q)
        if limit is not None:
            check_int("limit", limit, q, HIGHEST)  # no lower than q
        for name, value in (("n", n), ("C", C)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} {value} is not allowed: a positive number")
        if not 0 <= beta < math.inf:
            raise ValueError(f"beta {beta} is not allowed: zero or a positive number")
        for name, flag in (("vanish", vanish), ("per_tensor", per_tensor)):
            if not isinstance(flag, bool):
                raise TypeError(f"{name} must be True or False, not {flag!r}")
        self.limit, self.vanish, self.per_tensor = limit, vanish, per_tensor
        self.n, self.C, self.beta = n, C, beta
        self.t = 0
        self.tensor_q: dict[int, int] = {}

    def bind(self, fraction: int | None) -> None:
        """Attach the policy to its optimizer, and begin the first epoch."""
        super().bind(fraction)
        self._follow_schedule()

    def supremum(self, t: int) -> float:
        """Return sup q(t), the upper edge of the band."""
        return 0.5 * math.log2(self.n * math.log(t + 2) / (24 * self.C))

    def infimum(self, t: int) -> float:
        """Return inf q(t), the lower edge of the band."""
        return self.supremum(t) - self.beta / (t + 2)

    def step(self) -> None:
        """Begin the next epoch: raise q to the lower edge of the band."""
        self.t += 1
        self._follow_schedule()

    def observe(self, tensor: int, needed: int | None, total: Total | None = None) -> int:
        """Return the q to quantize a tensor with, after the vanish rule."""
        q = self.foreseen(tensor)
        if not self.vanish or needed is None or needed <= q:
            return q
        raised = max(q, min(needed, self._cap()))
        if raised > q:
            self._count_vanish(tensor, raised - q)
            if self.per_tensor:
                self.tensor_q[tensor] = raised
            else:
                self.q = raised
        return raised

    def foreseen(self, tensor: int) -> int:
        """Return the q of a tensor before the vanish rule."""
        return max(self.q, self.tensor_q.get(tensor, 0))

    def independent(self, tensor: int) -> bool:
        """Return whether no other tensor can raise the q of this one before the next epoch."""
        return not self.vanish or self.per_tensor or self.q >= self._cap()

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state as primitives."""
        names = ("limit", "vanish", "per_tensor", "n", "C", "beta", "t")
        return (
            super().state_dict()
            | {name: getattr(self, name) for name in names}
            | {"tensor_q": dict(self.tensor_q)}
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state)
        self.tensor_q = {int(tensor): q for tensor, q in self.tensor_q.items()}

    @classmethod
    def _from_state(cls, state: Mapping[str, Any]) -> Band:
        names = ("limit", "vanish", "n", "C", "beta", "per_tensor")
        loaded = cls(state["q"], **{name: state[name] for name in names})
        check_int("t", state["t"], 0, 2**63)
        loaded.t = state["t"]
        for tensor, q in state["tensor_q"].items():
            check_int("tensor", int(tensor), 0, 2**63)
            check_int("q", q, 0, HIGHEST)
        loaded.tensor_q = dict(state["tensor_q"])
        return loaded

    def _cap(self) -> int:
        if self.limit is not None:
            return self.limit
        supremum = math.ceil(self.supremum(self.t))
        return supremum if self._fraction is None else min(self._fraction, supremum)

    def _follow_schedule(self) -> None:
        target = min(self._cap(), math.ceil(self.infimum(self.t)))
        if target > self.q:
            self.raises["schedule"] += target - self.q
            self.q = target

    def _check_fraction(self, fraction: int | None) -> None:
        super()._check_fraction(fraction)
        if fraction is not None and self.limit is not None and self.limit > fraction:
            raise ValueError(f"limit {self.limit} exceeds the weights' {fraction} fraction bits")
        highest = max(self.tensor_q.values(), default=0)
        if fraction is not None and highest > fraction:
            raise ValueError(f"q {highest} exceeds the weights' {fraction} fraction bits")
