"""Resolution policies: which q the learning equation uses, and why it rises.

A policy is stateful and never lets q fall. The optimizer asks it for every parameter tensor, in
parameter order, with the smallest q at which that tensor's step would not vanish; the user calls
`step` once per epoch, beside the learning-rate scheduler. One policy belongs to one optimizer.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

_HIGHEST = 64
"""No format has more fraction bits than this."""


def resolution_needed(low: float, high: float, rate: int = 0) -> int | None:
    """Return q_min, the smallest q at which some element of a step is not zero.

    The quantized step of ``2**-rate * h`` is non-zero where it reaches half a grid step, and for
    negative elements exceeds it, because ties round up. Both conditions are monotone in the
    magnitude, so the extremes of h decide. This is the closed form of the paper's loop "while
    the quantized vector is zero, raise q" (arXiv 2112.13006, Algorithm 1, first auxiliary
    procedure).

    Parameters
    ----------
    low, high : float
        Smallest and largest element of h, finite.
    rate : int
        k of the learning rate 2**-k; 0 if the bounds are those of lambda * h already.

    Returns
    -------
    int or None
        q_min, not clipped to any range; None if every element is zero, where the literal loop
        would run to its limit.
    """
    needed = []
    if high > 0:
        needed.append(rate - math.frexp(high)[1])
    if low < 0:
        mantissa, exponent = math.frexp(-low)
        needed.append(rate - exponent + (mantissa == 0.5))
    return min(needed, default=None)


class Policy(ABC):
    """What an optimizer needs of a resolution policy.

    Attributes
    ----------
    q : int
        The resolution in force; it never falls.
    raises : dict
        Unit raises of q so far: ``{"schedule": int, "vanish": {tensor index: int}}``.
    """

    def __init__(self, q: int):
        _check_int("q", q, 0, _HIGHEST)
        self.q = q
        self.raises: dict[str, Any] = {"schedule": 0, "vanish": {}}
        self._bound = False
        self._fraction: int | None = None

    def bind(self, fraction: int | None) -> None:
        """Attach the policy to its optimizer.

        Parameters
        ----------
        fraction : int or None
            Fraction bits of fixed-point weights, which q cannot exceed; None for float weights.

        Raises
        ------
        RuntimeError
            If the policy is attached already.
        ValueError
            If q or the limit exceeds `fraction`.
        """
        if self._bound:
            raise RuntimeError(
                f"{self!r} belongs to another optimizer already: give each optimizer its own "
                "policy, such as copy.deepcopy(policy)"
            )
        self._check_fraction(fraction)
        self._bound, self._fraction = True, fraction

    def release(self) -> None:
        """Detach the policy from its optimizer."""
        self._bound, self._fraction = False, None

    @abstractmethod
    def step(self) -> None:
        """Begin the next epoch."""

    @abstractmethod
    def observe(self, tensor: int, needed: int | None) -> int:
        """Return the q to quantize a tensor with.

        Parameters
        ----------
        tensor : int
            Index of the parameter tensor in the optimizer.
        needed : int or None
            `resolution_needed` of its step.
        """

    def independent(self, tensor: int) -> bool:
        """Return whether the q of a tensor has nothing to do with other tensors' steps.

        `observe` may then be called for this tensor before its turn, and again in its turn. A
        policy that does not say so is asked once, in parameter order.
        """
        return False

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state as primitives."""
        return {"policy": type(self).__name__, "q": self.q, "raises": _copy_raises(self.raises)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises
        ------
        ValueError
            If the state is of another policy, or its q does not fit the weights; nothing has
            changed then.
        """
        if state.get("policy") != type(self).__name__:
            raise ValueError(
                f"cannot load the state of a {state.get('policy')!r} policy "
                f"into a {type(self).__name__}"
            )
        if set(state) != set(self.state_dict()):
            raise ValueError(
                f"{type(self).__name__} state has keys {sorted(state)}, "
                f"expected {sorted(self.state_dict())}"
            )
        loaded = self._from_state(state)
        loaded._check_fraction(self._fraction)
        for name, value in state.items():
            if name == "raises":
                self.raises = _copy_raises(value)
            elif name != "policy":
                setattr(self, name, value)

    @classmethod
    @abstractmethod
    def _from_state(cls, state: Mapping[str, Any]) -> Policy:
        """Return a new policy in this state, or raise."""

    def __getstate__(self) -> dict[str, Any]:
        # A copy belongs to nobody yet.
        return vars(self) | {"_bound": False}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(q={self.q})"

    def _check_fraction(self, fraction: int | None) -> None:
        if fraction is not None and self.q > fraction:
            raise ValueError(f"q {self.q} exceeds the weights' {fraction} fraction bits")


def _copy_raises(raises: Mapping[str, Any]) -> dict[str, Any]:
    # JSON turns integer keys into strings.
    vanish = {int(tensor): count for tensor, count in raises["vanish"].items()}
    return {"schedule": raises["schedule"], "vanish": vanish}


def _check_int(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} {value} is not allowed: {low} to {high}")


class Constant(Policy):
    """The same resolution for ever.

    Parameters
    ----------
    q : int
        Resolution index, 0 to 64.
    """

    @classmethod
    def _from_state(cls, state: Mapping[str, Any]) -> Constant:
        return cls(state["q"])

    def step(self) -> None:
        """Begin the next epoch: nothing changes."""

    def observe(self, tensor: int, needed: int | None) -> int:
        """Return q."""
        return self.q

    def independent(self, tensor: int) -> bool:
        """Return True."""
        return True


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
            _check_int("limit", limit, q, _HIGHEST)  # no lower than q
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

    def observe(self, tensor: int, needed: int | None) -> int:
        """Return the q to quantize a tensor with, after the vanish rule."""
        q = max(self.q, self.tensor_q.get(tensor, 0))
        if not self.vanish or needed is None or needed <= q:
            return q
        raised = max(q, min(needed, self._cap()))
        if raised > q:
            causes = self.raises["vanish"]
            causes[tensor] = causes.get(tensor, 0) + raised - q
            if self.per_tensor:
                self.tensor_q[tensor] = raised
            else:
                self.q = raised
        return raised

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
        _check_int("t", state["t"], 0, 2**63)
        loaded.t = state["t"]
        for tensor, q in state["tensor_q"].items():
            _check_int("tensor", int(tensor), 0, 2**63)
            _check_int("q", q, 0, _HIGHEST)
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
