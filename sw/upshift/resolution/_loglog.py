"""The schedule of the later paper: a resolution that follows log log t, and a push at first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from upshift.resolution._policy import Policy, Total, check_int
from upshift.resolution._rule import Rule

Variant = Literal["paper", "code"]

_ETA = {"paper": 2.0**9.5, "code": 2.0**19}
_KAPPA = {"paper": 2.0, "code": 4.0}


class LogLog(Policy):
    """The later paper's schedule and its early push: software only, for floating-point weights.

    With t the epochs so far, steps are multiples of 1 / Q_p,

        Q_p(t) = eta * 2**q(t),    q(t) = floor(1/2 log2 ln(t+2)),    eta = sqrt(2**19),

    and nothing else raises q: there is no vanish rule. So that early steps move something, the
    direction h of each tensor gets longer by ``sigmoid(-kappa (t - tau_0))``.

    Parameters
    ----------
    variant : {"paper", "code"}
        As the paper has it, or as its authors' code: ``q(t) = floor(log2 ln(t+2))``,
        ``eta = 2**19``, and steps ``w + floor(-Q_p lambda h) / Q_p``, without the half that makes
        the floor a rounding, so that every step leads 1 / (2 Q_p) downwards in the mean.
    kappa : float, optional
        How steeply the push ends, not negative. Left out, 2 for the paper and 4 for the code, which
        has ``(1 + tanh(-2 (t - tau_0))) / 2``, the same as ``sigmoid(-4 (t - tau_0))``.
    tau_0 : float
        Epoch at which the push has half its length; published: a fifth of 200 epochs.

    Attributes
    ----------
    t : int
        Epochs so far. The published code counts parts of epochs as well.
    q : int
        The exponent, which starts at -1.

    Notes
    -----
    Seok & Kim, arXiv 2305.18864. The formulas were reconstructed from secondary sources and from
    the authors' public code, which disagree; hence the variants.
    """

    def __init__(
        self, variant: Variant = "paper", *, kappa: float | None = None, tau_0: float = 40.0
    ):
        if variant not in _ETA:
            raise ValueError(f"variant {variant!r} is not allowed: 'paper' or 'code'")
        if kappa is None:
            kappa = _KAPPA[variant]
        if not 0 <= kappa < math.inf:
            raise ValueError(f"kappa {kappa} is not allowed: zero or a positive number")
        if not -math.inf < tau_0 < math.inf:
            raise ValueError(f"tau_0 {tau_0} is not allowed: a finite number")
        self.variant, self.kappa, self.tau_0 = variant, kappa, tau_0
        self.t = 0
        super().__init__(0)
        self.q = self.exponent(0)

    @property
    def rule(self) -> Rule:
        """The grid, the rounding and the push of the present epoch."""
        return Rule(
            eta=_ETA[self.variant],
            rounding="half up" if self.variant == "paper" else "up",
            push=self.push(self.t),
        )

    def exponent(self, t: int) -> int:
        """Return q(t)."""
        factor = 0.5 if self.variant == "paper" else 1.0
        return math.floor(factor * math.log2(math.log(t + 2)))

    def push(self, t: int) -> float:
        """Return sigmoid(-kappa (t - tau_0)), the length that directions gain in epoch t."""
        late = self.kappa * (t - self.tau_0)
        small = math.exp(-abs(late))  # does not overflow
        return (small if late > 0 else 1.0) / (1.0 + small)

    def step(self) -> None:
        """Begin the next epoch: q follows its schedule."""
        self.t += 1
        raised = self.exponent(self.t) - self.q
        self.raises["schedule"] += raised
        self.q += raised

    def observe(self, tensor: int, needed: int | None, total: Total | None = None) -> int:
        """Return q."""
        return self.q

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state as primitives."""
        names = ("variant", "kappa", "tau_0", "t")
        return super().state_dict() | {name: getattr(self, name) for name in names}

    @classmethod
    def _from_state(cls, state: Mapping[str, Any]) -> LogLog:
        loaded = cls(state["variant"], kappa=float(state["kappa"]), tau_0=state["tau_0"])
        check_int("t", state["t"], 0, 2**63)
        loaded.t, loaded.q = state["t"], loaded.exponent(state["t"])
        if state["q"] != loaded.q:
            raise ValueError(f"q {state['q']} is not allowed in epoch {loaded.t}: {loaded.q}")
        return loaded

    def _check_fraction(self, fraction: int | None) -> None:
        if fraction is not None:
            raise ValueError(
                f"{self!r} is for floating-point weights, since "
                f"{' and '.join(self.rule.departures())}: "
                "fixed-point weights take Constant, Band or Authors"
            )

    def __repr__(self) -> str:
        return f"LogLog({self.variant!r}, t={self.t}, q={self.q})"
