"""Recorded resolutions, replayed for whoever needs the same q(t).

A policy is asked once for each tensor of each step, in their order; the number of the question is
the time t of a record. What is recorded are the changes alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from upshift.resolution import Band, Policy

Total = Callable[[int], int]
Change = tuple[int, int]
"""A question's number, from 0, and the q that it was answered with first."""


class Recording(Band):
    """A `Band` that remembers its answers.

    Attributes
    ----------
    changes : list of tuple
        The first answer, and every other one.
    asked : int
        Questions so far.
    total : int
        Sum of the answers.
    """

    def __init__(self, *, vanish: bool):
        super().__init__(vanish=vanish)
        self.changes: list[Change] = []
        self.asked = self.total = 0

    def observe(self, tensor: int, needed: int | None, total: Total | None = None) -> int:
        """Return what `Band` does, and remember it."""
        q = super().observe(tensor, needed, total)
        if not self.changes or q != self.changes[-1][1]:
            self.changes.append((self.asked, q))
        self.asked += 1
        self.total += q
        return q


class Replay(Policy):
    """The answers of a record; after its end the last one.

    Parameters
    ----------
    changes : sequence of tuple
        As `Recording` has them.
    """

    def __init__(self, changes: Sequence[Change]):
        super().__init__(changes[0][1])
        self.changes = [(int(number), int(q)) for number, q in changes]
        self.asked = 0

    def step(self) -> None:
        """Begin the next epoch: the record knows."""

    def observe(self, tensor: int, needed: int | None, total: Total | None = None) -> int:
        """Return the recorded q."""
        latest = bisect_right(self.changes, self.asked, key=lambda change: change[0]) - 1
        self.q = self.changes[latest][1]
        self.asked += 1
        return self.q

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state as primitives."""
        return super().state_dict() | {"changes": list(self.changes), "asked": self.asked}

    @classmethod
    def _from_state(cls, state: Mapping[str, Any]) -> Replay:
        loaded = cls(state["changes"])
        loaded.q, loaded.asked = state["q"], state["asked"]
        return loaded
