"""Bad cables: lines that lose, cut, double, reorder and damage what they carry, for tests.

Time on these lines is simulated, so that a run of a thousand faults takes no longer than its
computation, and the same seed gives the same run.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields

from upshift.device import DeviceError
from upshift.link import cobs
from upshift.link.board import BoardModel
from upshift.link.transport import LineLost, Transport

_CHUNK = 256
_BITS = 10  # of a byte on a serial line
_LONGEST_STALL = 1.5
_LONGEST_NOISE = 40
_INSTANT = 1e-6  # seconds; shorter than a bit


class ModelLine:
    """A perfect line to a `BoardModel`, at the line rate of its link; a `Transport`."""

    name = "model line"

    def __init__(self, board: BoardModel):
        self.board = board
        self._time = 0.0

    def exchange(self, data: bytes, timeout: float) -> tuple[int, bytes]:
        """See `Transport`."""
        if not data and timeout == float("inf"):
            raise DeviceError("nothing was sent, so nothing will ever come")
        part = data[:_CHUNK]
        received = self.board.receive(part)
        self._time += _BITS * max(len(part), len(received)) / self.board.link.baud
        if not part:
            self._time += max(0.0, timeout)
        return len(part), received

    def reopen(self, pause: float) -> None:
        """See `Transport`."""
        self._time += pause

    def now(self) -> float:
        """See `Transport`."""
        return self._time

    def wake(self) -> None:
        """See `Transport`."""

    def close(self) -> None:
        """See `Transport`."""


@dataclass(frozen=True)
class FaultRates:
    """Probabilities of faults, for each frame in each direction.

    Parameters
    ----------
    drop : float
        The frame is lost.
    cut : float
        The end of the frame is lost, sometimes with the zero byte behind it.
    duplicate : float
        The frame comes twice; the copy up to three frames later.
    reorder : float
        The frame comes up to three frames later.
    flip : float
        One to four bits are inverted.
    noise : float
        Random bytes come in the middle of the frame.
    stall : float
        Nothing moves for up to 1.5 seconds.
    disconnect : float
        The line is gone somewhere within the frame, and what it held is lost.
    power : float
        The board loses its power somewhere within the frame.
    """

    drop: float = 0.0
    cut: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    flip: float = 0.0
    noise: float = 0.0
    stall: float = 0.0
    disconnect: float = 0.0
    power: float = 0.0


class _Way:
    """One direction of a line: what it holds back."""

    def __init__(self) -> None:
        self.open = b""  # a frame that has not ended
        self.late: list[tuple[int, bytes]] = []  # frames to come, and how many come before


class FaultyLine:
    """A line with faults around a line without; a `Transport`.

    Parameters
    ----------
    line : Transport
        A line whose time is simulated.
    rng : random.Random
        Draws the faults.
    rates : FaultRates
    power_cycle : callable, optional
        Takes the board's power away and returns it; needed for the `power` fault.
    disconnect_at : int, optional
        Bytes, in both directions together, after which the line is gone once.

    Attributes
    ----------
    faults : collections.Counter
        How often each kind of fault has happened, and under ``frames`` how many frames have passed.
    bytes : int
        Bytes that have passed, in both directions together.
    """

    def __init__(
        self,
        line: Transport,
        rng: random.Random,
        rates: FaultRates,
        *,
        power_cycle: Callable[[], None] | None = None,
        disconnect_at: int | None = None,
    ):
        if rates.power and power_cycle is None:
            raise ValueError("power faults need power_cycle")
        self.name = f"faulty {line.name}"
        self.rates = rates
        self.faults: Counter[str] = Counter()
        self.bytes = 0
        self._line = line
        self._rng = rng
        self._power_cycle = power_cycle or (lambda: None)
        self._disconnect_at = disconnect_at
        self._to_board = b""
        self._down, self._up = _Way(), _Way()
        self._gone = False

    def exchange(self, data: bytes, timeout: float) -> tuple[int, bytes]:
        """See `Transport`."""
        part = data[:_CHUNK]
        if not self._gone:
            self._to_board += self._carry(self._down, part)
            accepted, received = self._line.exchange(self._to_board, 0.0 if part else timeout)
            self._to_board = self._to_board[accepted:]
            passed = self._carry(self._up, received) if not self._gone else b""
        if self._gone:
            self._down, self._up, self._to_board = _Way(), _Way(), b""
            raise LineLost("the line is gone: the cable was pulled")
        return len(part), passed

    def reopen(self, pause: float) -> None:
        """See `Transport`."""
        self._pass(pause)  # what comes meanwhile is lost
        self._gone = False

    def now(self) -> float:
        """See `Transport`."""
        return self._line.now()

    def wake(self) -> None:
        """See `Transport`."""
        self._line.wake()

    def close(self) -> None:
        """See `Transport`."""
        self._line.close()

    def _carry(self, way: _Way, data: bytes) -> bytes:
        """Return what comes out at the other end."""
        *ended, way.open = (way.open + data).split(cobs.DELIMITER)
        carried = b"".join(self._frame(way, frame + cobs.DELIMITER) for frame in ended)
        self.bytes += len(carried)
        if self._disconnect_at is not None and self.bytes >= self._disconnect_at:
            carried = carried[: len(carried) - (self.bytes - self._disconnect_at)]
            self._disconnect_at = None
            self._lose(way, carried)
        return carried

    def _frame(self, way: _Way, frame: bytes) -> bytes:
        """Return what becomes of a frame, and what was to come behind it."""
        self.faults["frames"] += 1
        kind = self._draw()
        if kind:
            self.faults[kind] += 1
            frame = getattr(self, f"_{kind}")(way, frame)
        way.late = [(count - 1, late) for count, late in way.late]
        due = b"".join(late for count, late in way.late if count < 0)
        way.late = [(count, late) for count, late in way.late if count >= 0]
        return frame + due

    def _draw(self) -> str | None:
        number = self._rng.random()
        for field in fields(self.rates):
            number -= getattr(self.rates, field.name)
            if number < 0:
                return field.name
        return None

    def _drop(self, way: _Way, frame: bytes) -> bytes:
        return b""

    def _cut(self, way: _Way, frame: bytes) -> bytes:
        end = cobs.DELIMITER if self._rng.random() < 0.5 else b""
        return frame[: self._rng.randrange(len(frame))] + end

    def _duplicate(self, way: _Way, frame: bytes) -> bytes:
        way.late.append((self._rng.randrange(4), frame))
        return frame

    def _reorder(self, way: _Way, frame: bytes) -> bytes:
        way.late.append((self._rng.randrange(1, 4), frame))
        return b""

    def _flip(self, way: _Way, frame: bytes) -> bytes:
        damaged = bytearray(frame)
        for _ in range(self._rng.randrange(1, 5)):
            damaged[self._rng.randrange(len(frame))] ^= 1 << self._rng.randrange(8)
        return bytes(damaged)

    def _noise(self, way: _Way, frame: bytes) -> bytes:
        place = self._rng.randrange(len(frame))
        noise = self._rng.randbytes(self._rng.randrange(1, _LONGEST_NOISE))
        return frame[:place] + noise + frame[place:]

    def _stall(self, way: _Way, frame: bytes) -> bytes:
        self._up.open += self._pass(self._rng.uniform(0, _LONGEST_STALL))
        return frame

    def _disconnect(self, way: _Way, frame: bytes) -> bytes:
        self._lose(way, frame[: self._rng.randrange(len(frame))])
        return b""

    def _power(self, way: _Way, frame: bytes) -> bytes:
        place = self._rng.randrange(len(frame))
        if way is self._down:
            self._line.exchange(frame[:place], 0.0)
            frame = frame[place:]
        self._power_cycle()
        return frame

    def _pass(self, seconds: float) -> bytes:
        """Let time pass and return what the board has sent meanwhile."""
        end = self.now() + seconds
        parts = [b""]
        while (left := end - self.now()) > _INSTANT:
            parts.append(self._line.exchange(b"", left)[1])
        return b"".join(parts)

    def _lose(self, way: _Way, last: bytes) -> None:
        """Take the line away; the board still gets what was on its way."""
        if way is self._down:
            self._to_board += last
            while self._to_board:
                accepted, _ = self._line.exchange(self._to_board, _LONGEST_STALL)
                self._to_board = self._to_board[accepted:]
        self._gone = True
