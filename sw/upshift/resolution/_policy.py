"""What every resolution policy has: a state, an owner, and reasons for which q rose."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from upshift.resolution._rule import Rule

HIGHEST = 64
"""No format has more fraction bits than this."""

Total = Callable[[int], int]
"""The sum of one tensor's quantized step, in units of the grid, at a resolution."""


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
        check_int("q", q, 0, HIGHEST)
        self.q = q
        self.raises: dict[str, Any] = {"schedule": 0, "vanish": {}}
        self._bound = False
        self._fraction: int | None = None

    @property
    def rule(self) -> Rule:
        """How steps are quantized; unless a policy says otherwise, as on a device."""
        return Rule()

    @property
    def Q_p(self) -> float:  # noqa: N802  (the paper's name)
        """The quantization parameter in force: the grid has the step 1 / Q_p."""
        return self.rule.eta * 2.0**self.q

    def check_device(self) -> None:
        """Raise ValueError if a device cannot follow the policy."""
        departures = self.rule.departures()
        if departures:
            raise ValueError(
                f"{self!r} is for software only, since {' and '.join(departures)}: "
                "a device takes Constant or Band"
            )

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
    def observe(self, tensor: int, needed: int | None, total: Total | None = None) -> int:
        """Return the q to quantize a tensor with.

        Parameters
        ----------
        tensor : int
            Index of the parameter tensor in the optimizer.
        needed : int or None
            `resolution_needed` of its step.
        total : callable, optional
            Sum of the quantized step at a given q, in units of the grid; not on devices.
        """

    def foreseen(self, tensor: int) -> int | None:
        """Return the q of a tensor whose step does not vanish there, None if it is not known yet.

        A policy that says so may raise the q of a tensor in `observe` only if its whole step is
        zero at the q foreseen.
        """
        return None

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

    def _count_vanish(self, tensor: int, raised: int) -> None:
        causes = self.raises["vanish"]
        causes[tensor] = causes.get(tensor, 0) + raised

    def _check_fraction(self, fraction: int | None) -> None:
        if fraction is not None and self.q > fraction:
            raise ValueError(f"q {self.q} exceeds the weights' {fraction} fraction bits")


def _copy_raises(raises: Mapping[str, Any]) -> dict[str, Any]:
    # JSON turns integer keys into strings.
    vanish = {int(tensor): count for tensor, count in raises["vanish"].items()}
    return {"schedule": raises["schedule"], "vanish": vanish}


def check_int(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} {value} is not allowed: {low} to {high}")
