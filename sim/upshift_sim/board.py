"""A virtual board: a unit behind its link, compiled from its RTL, with only the pins absent.

Bytes go in and come out by a UART on the host's side whose bits are as long as the line rate says,
whatever the board's own divider makes of it. Time is the board's clock, so runs repeat exactly.
"""

from __future__ import annotations

import ctypes
import math
import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from upshift.config import UnitConfig
from upshift.link.cobs import DELIMITER
from upshift.link.config import LinkConfig
from upshift.link.frames import ANSWERS, NO_SESSION, Answer, Frame, Request, unpack
from upshift.link.framing import FrameReader, to_line
from upshift_sim import compiled

_CHUNK = 1 << 16
_CLOCKS = 1 << 20
_PORT_BYTES = 4096
"""What the driver of a serial port takes before it makes a program wait."""
_LONGEST_WAIT = 3600.0


class BoardCounters(NamedTuple):
    """What went over the lines of a board since it was made.

    Attributes
    ----------
    clocks : int
        Clocks that were simulated; a board at rest takes none.
    sending : int
        Clocks in which the host had a bit on its line.
    sent, received : int
        Bytes to and from the board.
    bad : int
        Bytes from the board that had a wrong start or stop bit.
    """

    clocks: int
    sending: int
    sent: int
    received: int
    bad: int


class VirtualBoard:
    """A board compiled from its RTL.

    Parameters
    ----------
    config : UnitConfig
    link : LinkConfig
    rate_error : float
        How far the host's line rate is from ``link.baud``, as a fraction of it.

    Raises
    ------
    DeviceError
        If the board cannot be compiled.
    """

    def __init__(self, config: UnitConfig, link: LinkConfig, *, rate_error: float = 0.0):
        self.config = config
        self.link = link
        path, self.opening = compiled.build_board(config, link)
        self._library = _load(str(path))
        self._bit = round((link.clock << 32) / (link.baud * (1 + rate_error)))
        self._past = BoardCounters(0, 0, 0, 0, 0)
        self._out = b""
        self._buffer = ctypes.create_string_buffer(_CHUNK)
        self._handle = self._library.upshift_board_open(self._bit)

    def feed(self, data: bytes) -> None:
        """Queue bytes for the line to the board."""
        self._library.upshift_board_feed(self._handle, data, len(data))

    @property
    def queued(self) -> int:
        """Bytes that the line to the board has not begun to carry."""
        return int(self._library.upshift_board_queued(self._handle))

    def run(self, clocks: int, *, until_frame: bool = False) -> int:
        """Run some clocks and return how many.

        Parameters
        ----------
        clocks : int
            The most to run; less if the board comes to rest with nothing left to do.
        until_frame : bool
            Stop as well behind the zero byte that ends a frame from the board.
        """
        return int(self._library.upshift_board_run(self._handle, clocks, until_frame))

    def take(self) -> bytes:
        """Return the bytes that the board has sent."""
        taken, self._out = self._out, b""
        while count := self._library.upshift_board_take(self._handle, self._buffer, _CHUNK):
            taken += ctypes.string_at(self._buffer, count)
        return taken

    def answer(self, data: bytes) -> bytes:
        """Send bytes, run until the board rests, and return all that it has sent."""
        self.feed(data)
        while self.run(_CLOCKS):
            pass
        return self.take()

    def status(self) -> dict[str, int]:
        """Ask the board for its STATUS, over its pins."""
        request = to_line(Frame(Request.STATUS, 0, NO_SESSION, b""))
        answers = FrameReader(self.link.frame_bytes).feed(self.answer(DELIMITER + request))
        return unpack(ANSWERS[Answer.STATUS], list(answers)[-1].payload)

    def play(self, levels: NDArray[np.uint8]) -> None:
        """Put one level per clock on the line to the board: noise, glitches and breaks."""
        levels = np.ascontiguousarray(levels, np.uint8)
        self._library.upshift_board_play(self._handle, levels.ctypes.data, levels.size)

    def power_cycle(self) -> None:
        """Configure the board anew. Its weights and what was under way are lost."""
        self._out = self.take()
        self._past = self.counters()
        self._library.upshift_board_close(self._handle)
        self._handle = self._library.upshift_board_open(self._bit)

    def counters(self) -> BoardCounters:
        """Return what went over the lines so far."""
        counts = np.zeros(len(BoardCounters._fields), np.int64)
        self._library.upshift_board_counters(self._handle, counts.ctypes.data)
        return BoardCounters(*(a + int(b) for a, b in zip(self._past, counts, strict=True)))

    def close(self) -> None:
        """Free the board; nothing else may be called then."""
        if self._handle is not None:
            self._library.upshift_board_close(self._handle)
            self._handle = None


class BoardTransport:
    """The line to a virtual board, as a driver sees it (`upshift.link.transport.Transport`).

    Time is the board's, and passes only while the driver waits; while the board rests, it passes
    at once.

    Parameters
    ----------
    board : VirtualBoard
        Closed with the line.
    name : str
        The URL, for messages.

    Attributes
    ----------
    simulating : float
        Seconds of processor time that went into the board, and not into its driver.
    """

    def __init__(self, board: VirtualBoard, name: str):
        self.board = board
        self.name = name
        self.simulating = 0.0
        self._skipped = 0  # clocks of a board at rest

    def exchange(self, data: bytes, timeout: float) -> tuple[int, bytes]:
        """Send and receive what can be at once, or else wait until something can be."""
        before = time.thread_time()
        accepted = min(len(data), _PORT_BYTES - self.board.queued)
        self.board.feed(data[:accepted])
        received = self.board.take()
        if not accepted and not received:
            received = self._wait(timeout, sending=bool(data))
        self.simulating += time.thread_time() - before
        return accepted, received

    def reopen(self, pause: float) -> None:
        """Let time pass; the line itself is always there."""
        self._run(self._clocks(pause), until_frame=False)

    def now(self) -> float:
        """Return the board's time in seconds."""
        return (self.board.counters().clocks + self._skipped) / self.board.link.clock

    def wake(self) -> None:
        """Do nothing: nobody waits in another thread."""

    def close(self) -> None:
        """Free the board."""
        self.board.close()

    def _wait(self, timeout: float, *, sending: bool) -> bytes:
        """Run until something was received, some has been sent, or the time is over."""
        clocks = self._clocks(timeout)
        if sending:
            half = self._clocks(_PORT_BYTES / 2 * 10 / self.board.link.baud)
            clocks = min(clocks, half)
        self._run(clocks, until_frame=True)
        return self.board.take()

    def _run(self, clocks: int, *, until_frame: bool) -> None:
        received = self.board.counters().received
        ran = self.board.run(clocks, until_frame=until_frame)
        if self.board.counters().received == received:
            self._skipped += clocks - ran

    def _clocks(self, seconds: float) -> int:
        return math.ceil(min(max(seconds, 0.0), _LONGEST_WAIT) * self.board.link.clock)


def _load(path: str) -> ctypes.CDLL:
    library = ctypes.CDLL(path)
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    signatures: dict[str, tuple[list[Any], Any]] = {
        "open": ([integer], pointer),
        "close": ([pointer], None),
        "feed": ([pointer, ctypes.c_char_p, integer], None),
        "queued": ([pointer], integer),
        "take": ([pointer, ctypes.c_char_p, integer], integer),
        "run": ([pointer, integer, ctypes.c_int], integer),
        "play": ([pointer, pointer, integer], None),
        "counters": ([pointer, pointer], None),
    }
    for name, (arguments, result) in signatures.items():
        function = getattr(library, f"upshift_board_{name}")
        function.argtypes, function.restype = arguments, result
    return library
