"""A session and its line: bytes are moved by whoever waits, or by a thread.

Lines that keep their own time, as simulated ones do, are pumped by the caller, and everything
repeats exactly. On real lines a thread sends while the caller computes.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable

from upshift.device import DeviceError
from upshift.link import cobs
from upshift.link.frames import ANSWERS, Answer, Frame, Request, unpack
from upshift.link.framing import FrameReader, to_line
from upshift.link.requests import Command, Query
from upshift.link.session import Session
from upshift.link.transport import LineLost, Transport

_AHEAD = 4096  # bytes that are ready for the line; what a port buffers comes on top
_QUEUE_BYTES = 4 << 20
_PAUSE = 0.1  # seconds between attempts
_LONGEST = 16384  # bytes of an answer before the board has said how long they are
_SHOWN = 16  # bytes that a message shows


def identify(
    transport: Transport, rng: random.Random, timeout: float
) -> tuple[dict[str, int], int]:
    """Return the board's identity and the session that it is in.

    Raises
    ------
    DeviceError
        If nothing answers, or something that does not speak this protocol.
    """
    reader = FrameReader(_LONGEST)
    tag = rng.randrange(1 << 16)
    request = cobs.DELIMITER + to_line(Frame(Request.IDENTIFY, tag, 0, b""))
    seen = out = b""
    lost: LineLost | None = None
    end = transport.now() + timeout
    ask = transport.now()
    while (now := transport.now()) < end:
        if now >= ask:
            out, ask = out + request if len(out) < len(request) else out, now + 2 * _PAUSE
        try:
            accepted, received = transport.exchange(out, min(ask, end) - now)
        except LineLost as error:
            lost = error
            transport.reopen(_PAUSE)
            reader.clear()
            out, ask = b"", now
            continue
        out = out[accepted:]
        seen = (seen + received)[:_SHOWN]
        for frame in reader.feed(received):
            if frame.kind == Answer.IDENTITY and frame.sequence == tag:
                try:
                    return unpack(ANSWERS[Answer.IDENTITY], frame.payload), frame.session
                except ValueError:
                    continue  # too short to be ours
    if not seen and lost is not None:
        raise DeviceError(
            f"{transport.name}: nothing answered within {timeout:g} s, and the line is closed each "
            f"time it is opened ({lost}); does another program use the board?"
        ) from lost
    if not seen:
        raise DeviceError(
            f"{transport.name}: nothing answered within {timeout:g} s; is the board powered, "
            "configured and on this port, with this baud rate?"
        )
    raise DeviceError(
        f"{transport.name}: another program or gateware is on the port, or the baud rate is "
        f"another: no board answered within {timeout:g} s, but these bytes came: {seen.hex(' ')}"
    )


class Driver:
    """Moves bytes between a session and its line.

    Parameters
    ----------
    transport : Transport
    session : Session
    reconnect : float
        Seconds after which a line that is gone is given up, if there is anything to do.

    Attributes
    ----------
    lock : threading.Condition
        To be held by who looks at the session while a thread runs.
    bytes_sent, bytes_received, reconnects : int
    """

    def __init__(self, transport: Transport, session: Session, *, reconnect: float):
        self.lock = threading.Condition()
        self.bytes_sent = self.bytes_received = self.reconnects = 0
        self._transport = transport
        self._session = session
        self._reconnect = reconnect
        self._out = cobs.DELIMITER  # ends what another program may have begun
        self._error: DeviceError | None = None
        self._lost_at: float | None = None
        self._thread: threading.Thread | None = None
        self._stopping = False

    def start(self) -> None:
        """Have a thread move the bytes from now on."""
        self._thread = threading.Thread(target=self._run, name="upshift link", daemon=True)
        self._thread.start()

    def submit(self, items: Iterable[Command | Query]) -> None:
        """Queue commands and queries; wait if too much is queued already.

        Raises
        ------
        DeviceError
            If the link has failed, now or before.
        """
        with self.lock:
            self._check()
            now = self._transport.now()
            for item in items:
                self._session.submit(item, now)
        if self._thread is not None:
            self._transport.wake()
        self.wait(lambda: self._session.queued_bytes <= _QUEUE_BYTES)

    def wait(self, condition: Callable[[], bool]) -> None:
        """Return when a condition of the session holds.

        Raises
        ------
        DeviceError
            If the link fails before, or has failed.
        """
        if self._thread is None:
            while not condition():
                self._check()
                self._step()
            return
        with self.lock:
            self.lock.wait_for(lambda: condition() or self._error is not None)
            if not condition():
                self._check()

    def flush(self) -> None:
        """Wait until all that was submitted is done."""
        self.wait(lambda: not self._session.busy)

    def close(self) -> None:
        """Do what was submitted, unless the link has failed before, and close the line."""
        try:
            if self._error is None:
                self.flush()
        finally:
            self._stopping = True
            if self._thread is not None:
                self._transport.wake()
                self._thread.join()
            self._transport.close()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while not self._stopping and self._error is None:
            try:
                self._step()
            except DeviceError:
                return  # whoever waits raises it

    def _step(self) -> None:
        try:
            self._move()
        except Exception as error:
            with self.lock:
                self._error = DeviceError(f"{self._transport.name}: {error}")
                self.lock.notify_all()
            raise self._error from error

    def _move(self) -> None:
        """Send and receive once."""
        with self.lock:
            now = self._transport.now()
            self._session.tick(now)
            while len(self._out) < _AHEAD and (data := self._session.transmit(now)):
                self._out += data
            timeout = self._session.deadline - now
        try:
            accepted, received = self._transport.exchange(self._out, timeout)
        except LineLost as lost:
            self._reopen(lost)
            return
        self._out = self._out[accepted:]
        self.bytes_sent += accepted
        self.bytes_received += len(received)
        if received:
            self._lost_at = None
            with self.lock:
                self._session.receive(received, self._transport.now())
                self.lock.notify_all()

    def _reopen(self, lost: LineLost) -> None:
        """Open the line again.

        Raises
        ------
        DeviceError
            If it does not come back in time, or comes back only to be lost again.
        """
        if self._lost_at is None:
            self._lost_at = self._transport.now()
        while not self._stopping:
            try:
                self._transport.reopen(_PAUSE)
                reason: DeviceError = lost
            except DeviceError as error:
                reason = error
            now = self._transport.now()
            if not self._session.busy:
                self._lost_at = now  # nobody is waiting
            if now - self._lost_at >= self._reconnect:
                raise DeviceError(
                    f"{lost}, and it did not come back for {self._reconnect:g} s ({reason}); "
                    f"{self._session.state()}"
                ) from reason
            if reason is lost:
                break
        with self.lock:
            self.reconnects += 1
            self._out = cobs.DELIMITER
            self._session.reconnected(self._transport.now())
