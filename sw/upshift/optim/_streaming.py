"""Bursts that leave for a device while backward is still computing other gradients.

A burst may leave early only if its resolution cannot depend on the bursts before it; the others
are encoded early and leave in their turn. So streaming never changes a bit. What has left cannot
be called back: whatever a burst was made of has to be the same when its step is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from upshift.device import DeviceError
from upshift.optim._device_weights import Burst, DeviceWeights
from upshift.optim._direction import Directed
from upshift.report import UpdateReport
from upshift.resolution import Policy


@dataclass(frozen=True)
class _Origin:
    """What a burst was made of."""

    gradient: Tensor
    versions: tuple[int, int]
    settings: dict[str, Any]

    @classmethod
    def of(cls, p: Tensor, group: dict[str, Any]) -> _Origin | None:
        if p.grad is None:
            return None
        settings = {name: value for name, value in group.items() if name != "params"}
        settings["lr"] = float(group["lr"])  # a tensor would change in place
        return cls(p.grad, (p.grad._version, p._version), settings)

    def same(self, other: _Origin | None) -> bool:
        return (
            other is not None
            and self.gradient is other.gradient
            and (self.versions, self.settings) == (other.versions, other.settings)
        )


@dataclass(frozen=True)
class Early:
    """The step of one parameter, begun during backward.

    Attributes
    ----------
    direction : Directed
    burst : Burst
        Sent, or to be sent in its turn.
    """

    direction: Directed
    burst: Burst
    origin: _Origin

    @property
    def sent(self) -> bool:
        """Whether the device has the burst."""
        return self.burst.pending is not None


class Stream:
    """The parameters whose coming step has begun."""

    def __init__(self, weights: DeviceWeights):
        self._weights = weights
        self.early: dict[Tensor, Early] = {}

    def begin(
        self,
        p: Tensor,
        tensor: int,
        direction: Directed,
        group: dict[str, Any],
        policy: Policy,
    ) -> None:
        """Encode the step of a parameter, and send it if its turn does not matter.

        Parameters
        ----------
        p : Tensor
            With a gradient.
        tensor : int
            Index of the parameter in the optimizer.
        direction : Directed
            Finite.
        group : dict
            The parameter group.
        policy : Policy

        Raises
        ------
        DeviceError
            If a burst of this parameter was sent already.
        """
        if p in self.early and self.early[p].sent:
            raise DeviceError(
                f"parameter {tensor} got another gradient after its burst was sent: streaming() "
                f"is for the last backward before each step; {self.told()}"
            )
        origin = _Origin.of(p, group)
        assert origin is not None
        burst = self._weights.prepare(p, tensor, direction.h, origin.settings["lr"])
        self.early[p] = Early(direction, burst, origin)
        if policy.independent(tensor):
            self._weights.send(burst, policy)

    def check(self, groups: list[dict[str, Any]], policy: Policy) -> None:
        """Forget the bursts that were not sent and are no longer right.

        Raises
        ------
        DeviceError
            If one that was sent is no longer right.
        """
        group_of = {p: group for group in groups for p in group["params"]}
        for p, early in list(self.early.items()):
            burst = early.burst
            same = early.origin.same(_Origin.of(p, group_of[p]))
            if not early.sent:
                if not same:
                    del self.early[p]
            elif not same or policy.observe(burst.tensor, burst.scaled.needed) != burst.resolution:
                raise DeviceError(
                    f"parameter {burst.tensor}, its gradient, learning rate or resolution changed "
                    "after streaming() had sent its burst: sync() gives the device the parameters "
                    "as they are"
                )

    def take(self, p: Tensor, policy: Policy) -> UpdateReport:
        """Bring the burst of a parameter into it, sending it now if it was not, and forget it."""
        early = self.early.pop(p)
        if not early.sent:
            self._weights.send(early.burst, policy)
        return self._weights.take(p, early.burst)

    def told(self) -> str:
        """Say which parameters have taken the step already, for messages."""
        sent = sorted(early.burst.tensor for early in self.early.values() if early.sent)
        if not sent:
            return "nothing was changed"
        plural, have = ("s", "have") if len(sent) > 1 else ("", "has")
        return f"parameter{plural} {', '.join(map(str, sent))} {have} taken this step already"
