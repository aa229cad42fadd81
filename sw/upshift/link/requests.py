"""What a session is asked to do: commands, which are executed once, and queries."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from upshift.link.frames import ARGUMENTS, Request, unpack


class Command:
    """A request that is executed once, in order.

    Parameters
    ----------
    request : Request
    payload : bytes
    raw : ndarray of int
        The words that the data of the payload stand for.

    Attributes
    ----------
    report : dict or None
        The fields of the report, once the board has answered.
    done : bool
        This command and all before it are answered: the report stays.
    """

    def __init__(self, request: Request, payload: bytes, raw: NDArray[np.integer[Any]]):
        self.request = request
        self.payload = payload
        self.raw = raw
        self.report: dict[str, int] | None = None
        self.done = False
        # For the session:
        self.restores = False  # it is the session's own, for a board that lost its memory
        self.sent = self.recalled = False

    def __str__(self) -> str:
        values = unpack(ARGUMENTS[self.request], self.payload)
        if self.request == Request.RAISE:
            return f"RAISE to {values['resolution']}"
        first = values["base"]
        return f"{self.request.name} of weights {first} to {first + values['count'] - 1}"


class Query:
    """A request that changes nothing.

    Parameters
    ----------
    request : Request
    payload : bytes
    size : int
        Bytes of the answer's payload.

    Attributes
    ----------
    answer : bytes or None
        The payload of the answer, once it has come.
    """

    def __init__(self, request: Request, payload: bytes, size: int):
        self.request = request
        self.payload = payload
        self.size = size
        self.answer: bytes | None = None
        self.sent = False  # for the session
