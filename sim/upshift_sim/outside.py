"""Weights beside a unit: the memory that they stream from and to, and a reader of updates.

A unit of streamed weights does not look at addresses, so the memory keeps its own order: it
offers no row of which an update is under way. Rows of bursts that the unit must refuse are sent
too, and an address beyond the end means the row that is left when it is divided by the number of
rows; such a row must come back as it went out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np

from upshift import layout
from upshift.config import UnitConfig
from upshift.formats import Raw
from upshift.layout import Operation
from upshift.reference import Command


def rows_of(config: UnitConfig, command: Command) -> range:
    """Return the rows that a command streams, those of commands to be refused included."""
    if command.operation != Operation.UPDATE or not command.count:
        return range(0)
    first = command.base // config.lanes
    return range(first, first + config.beats(command.base, command.count))


class OutsideMemory:
    """Weights that stream through a unit.

    Parameters
    ----------
    config : UnitConfig

    Attributes
    ----------
    weights : ndarray of int64, shape (depth,)
        Raw weights.
    coming : deque of int
        Rows that are still to go out, in order.
    """

    def __init__(self, config: UnitConfig):
        self.config = config
        self.weights: Raw = np.zeros(config.depth, np.int64)
        self.coming: deque[int] = deque()
        self._under_way: deque[int] = deque()

    def add(self, commands: Iterable[Command]) -> None:
        """Queue the rows of commands."""
        for command in commands:
            self.coming += (row % self.config.rows for row in rows_of(self.config, command))

    def clear(self) -> None:
        """Forget what is queued and under way, because the unit was reset."""
        self.coming.clear()
        self._under_way.clear()

    def next_row(self) -> int | None:
        """Return the payload to offer, or None if there is none or its row is under way."""
        if not self.coming or self.coming[0] in self._under_way:
            return None
        return layout.pack_lanes(self._row(self.coming[0]).tolist(), self.config.weight.width)

    def sent(self) -> None:
        """Note that the unit has taken the row offered."""
        self._under_way.append(self.coming.popleft())

    def returned(self, payload: int) -> None:
        """Store a row that the unit gave.

        Raises
        ------
        RuntimeError
            If no row is under way.
        """
        if not self._under_way:
            raise RuntimeError("a row came back that never went out")
        self._row(self._under_way.popleft())[:] = layout.unpack_lanes(self.config, payload)

    def _row(self, row: int) -> Raw:
        lanes = self.config.lanes
        return self.weights[row * lanes : (row + 1) * lanes]


class Mirror:
    """Weights as a reader of the stream of updates knows them.

    Parameters
    ----------
    config : UnitConfig

    Attributes
    ----------
    weights : ndarray of int64, shape (depth,)
        Raw weights; set those that the unit holds at first.
    """

    def __init__(self, config: UnitConfig):
        self.config = config
        self.weights: Raw = np.zeros(config.depth, np.int64)
        self._fields = layout.updates(config)

    def apply(self, payload: int) -> None:
        """Take over a row that was updated."""
        update = layout.unpack(self._fields, payload)
        first = update["row"] * self.config.lanes
        for lane, word in enumerate(layout.unpack_lanes(self.config, update["weights"])):
            if update["mask"] >> lane & 1:
                self.weights[first + lane] = word
