"""Puts a virtual board behind a pseudo-terminal or a TCP socket, as a cable would.

The board lives as long as the server, whoever opens and closes the line meanwhile. Nothing is lost
where a client does not read: the board's clock stops until it does.
"""

from __future__ import annotations

import contextlib
import os
import pty
import select
import socket
import time
import tty
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from upshift_sim.board import VirtualBoard

_CLOCKS = 1 << 14
"""Clocks between two looks at the line; some milliseconds."""
_INPUT = 4096
_OUTPUT = 65536
_TICK = 0.1
_File = int | socket.socket


class Line(Protocol):
    """The far end of a line of bytes that a driver opens."""

    @property
    def url(self) -> str:
        """What a driver opens."""
        ...

    def wait(self, seconds: float, *, reading: bool, writing: bool) -> None:
        """Wait until there is something to read, or room to write."""
        ...

    def read(self, count: int) -> bytes:
        """Return up to `count` bytes, none if there are none."""
        ...

    def write(self, data: bytes) -> int:
        """Write without waiting and return how many bytes went."""
        ...

    def close(self) -> None:
        """Give the line up."""
        ...


class PtyLine:
    """A pseudo-terminal, which a driver opens like a serial port."""

    def __init__(self) -> None:
        # With an end of its own held open here, a client that goes away is no error.
        self._fd, self._held = pty.openpty()
        tty.setraw(self._held)
        os.set_blocking(self._fd, False)
        self.path = os.ttyname(self._held)

    @property
    def url(self) -> str:
        """What a driver opens."""
        return f"serial://{self.path}"

    def wait(self, seconds: float, *, reading: bool, writing: bool) -> None:
        """Wait until there is something to read, or room to write."""
        _select([self._fd] * reading, [self._fd] * writing, seconds)

    def read(self, count: int) -> bytes:
        """Return up to `count` bytes, none if there are none."""
        try:
            return os.read(self._fd, count)
        except BlockingIOError:
            return b""

    def write(self, data: bytes) -> int:
        """Write without waiting and return how many bytes went."""
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0

    def close(self) -> None:
        """Remove the pseudo-terminal."""
        os.close(self._fd)
        os.close(self._held)


class SocketLine:
    """A TCP port on the loopback interface, for one client at a time; others are turned away.

    Parameters
    ----------
    port : int
        0 for any that is free.
    """

    def __init__(self, port: int = 0) -> None:
        self._server = socket.create_server(("127.0.0.1", port))
        self._server.setblocking(False)
        self._client: socket.socket | None = None

    @property
    def url(self) -> str:
        """What a driver opens."""
        return "socket://127.0.0.1:{1}".format(*self._server.getsockname())

    def wait(self, seconds: float, *, reading: bool, writing: bool) -> None:
        """Wait until there is a client, something to read from it, or room to write."""
        if self._client is None:
            _select([self._server], [], seconds)
        else:
            _select([self._client] * reading, [self._client] * writing, seconds)

    def read(self, count: int) -> bytes:
        """Return up to `count` bytes, none if there are none."""
        if self._client is None:
            try:
                self._client, _ = self._server.accept()
            except BlockingIOError:
                return b""
            self._client.setblocking(False)
            self._client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Asked before the client is looked at: one that has left and come back is no second one.
        another, _, _ = select.select([self._server], [], [], 0)
        try:
            data = self._client.recv(count)
        except BlockingIOError:
            if another:
                self._turn_away()
            return b""
        except OSError:
            data = b""
        if not data:
            self._hang_up()
        return data

    def write(self, data: bytes) -> int:
        """Write without waiting and return how many bytes went; with nobody there, all do."""
        if self._client is None:
            return len(data)
        try:
            return self._client.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self._hang_up()
            return len(data)

    def close(self) -> None:
        """Close the port."""
        self._hang_up()
        self._server.close()

    def _turn_away(self) -> None:
        """Let a second client know at once, instead of leaving it without an answer."""
        with contextlib.suppress(OSError):  # it may have gone by itself
            self._server.accept()[0].close()

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


def _select(reading: Sequence[_File], writing: Sequence[_File], seconds: float) -> None:
    if reading or writing:
        select.select(reading, writing, [], seconds)
    else:
        time.sleep(seconds)


@dataclass
class Served:
    """What a server has done.

    Attributes
    ----------
    clocks : int
    seconds : float
        That the simulation of these clocks took.
    """

    clocks: int = 0
    seconds: float = 0.0


def serve(board: VirtualBoard, line: Line, stopped: Callable[[], bool]) -> Served:
    """Carry bytes between a board and a line until `stopped`, which is asked ten times a second.

    Returns
    -------
    Served
    """
    served = Served()
    pending = b""
    resting = True
    while not stopped():
        room = len(pending) < _OUTPUT
        wanted = room and board.queued < _INPUT
        line.wait(_TICK if resting else 0, reading=wanted, writing=bool(pending))
        if wanted:
            board.feed(line.read(_INPUT))
        clocks = 0
        if room:
            clock = time.perf_counter()
            clocks = board.run(_CLOCKS, until_frame=True)
            served.seconds += time.perf_counter() - clock
            served.clocks += clocks
            pending += board.take()
        resting = clocks == 0
        if pending:
            pending = pending[line.write(pending) :]
    return served
