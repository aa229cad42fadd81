"""A resolution that stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from upshift.resolution._policy import Policy, Total


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

    def observe(self, tensor: int, needed: int | None, total: Total | None = None) -> int:
        """Return q."""
        return self.q

    def foreseen(self, tensor: int) -> int:
        """Return q."""
        return self.q

    def independent(self, tensor: int) -> bool:
        """Return True."""
        return True
