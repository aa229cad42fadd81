"""What the driver knows of a board's weights: a second copy, for a board that loses its power."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upshift.config import UnitConfig
from upshift.layout import Operation
from upshift.link.frames import ARGUMENTS, Request, byte_width, pack, unpack
from upshift.reference import Command, Unit
from upshift.words import to_bytes, word_bytes


class Mirror:
    """The weights as they were after the last command that a board has answered.

    Parameters
    ----------
    config : UnitConfig
    """

    def __init__(self, config: UnitConfig):
        self._unit = Unit(config)
        self._known = np.zeros(config.depth, np.bool_)

    def knows(self, base: int, count: int) -> bool:
        """Return whether all these weights are known."""
        return bool(self._known[base : base + count].all())

    def learn(self, base: int, raw: NDArray[np.integer[Any]]) -> None:
        """Take weights that were read; those that were known already stay as they are."""
        there = slice(base, base + raw.size)
        known = self._known[there]
        self._unit.weights[there] = np.where(known, self._unit.weights[there], raw)
        known[:] = True

    def apply(self, request: Request, payload: bytes, raw: NDArray[np.integer[Any]]) -> None:
        """Execute a command that the board has executed and not refused.

        Parameters
        ----------
        request : Request
            WRITE, UPDATE or RAISE.
        payload : bytes
            Its fields; data may follow.
        raw : ndarray of int
            The words that the data stand for.
        """
        values = unpack(ARGUMENTS[request], payload)
        if request == Request.WRITE:
            there = slice(values["base"], values["base"] + values["count"])
            self._unit.weights[there] = raw
            self._known[there] = True
        elif request == Request.RAISE:
            self._unit.floor = values["resolution"]
        else:
            numbers = (values[name] for name in ("base", "count", "rate", "resolution"))
            self._unit.execute(Command(Operation.UPDATE, *numbers), raw)

    def restore(self, longest: int) -> Iterator[tuple[Request, bytes, NDArray[np.integer[Any]]]]:
        """Yield the commands that bring an empty board to what the mirror holds.

        Parameters
        ----------
        longest : int
            Bytes of the longest payload.
        """
        edges = np.flatnonzero(np.diff(self._known, prepend=False, append=False))
        for base, end in edges.reshape(-1, 2).tolist():
            yield from writes(self._unit.config, base, self._unit.weights[base:end], longest)
        if self._unit.floor:
            fields = {"resolution": self._unit.floor}
            yield Request.RAISE, pack(ARGUMENTS[Request.RAISE], fields), np.zeros(0, np.int64)


def writes(
    config: UnitConfig, base: int, raw: NDArray[np.integer[Any]], longest: int
) -> Iterator[tuple[Request, bytes, NDArray[np.integer[Any]]]]:
    """Yield the WRITE commands that write `raw` from address `base` on, with their words."""
    fields = ARGUMENTS[Request.WRITE]
    most = (longest - byte_width(fields)) // word_bytes(config.weight.width)
    for start in range(0, raw.size, most):
        part = raw[start : start + most].copy()
        values = {"base": base + start, "count": part.size}
        yield Request.WRITE, pack(fields, values) + to_bytes(part, config.weight.width), part
