"""``serial:`` and ``socket:``, boards behind a line of bytes, behind the device API.

The board keeps the weights, and the driver a second copy, so that a board that loses its power in
the middle of a run is brought back to where it was. See `docs/link.md`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from upshift import layout
from upshift.config import UnitConfig
from upshift.device._device import Counters, Device, DeviceError, Pending, RefusedError
from upshift.formats import Raw
from upshift.layout import Operation
from upshift.link import frames, gradients
from upshift.link.driver import Driver, identify
from upshift.link.frames import ANSWERS, ARGUMENTS, Answer, Request, byte_width, pack, unpack
from upshift.link.mirror import Mirror, writes
from upshift.link.requests import Command, Query
from upshift.link.session import Session
from upshift.link.transport import Transport, ports, serial_line, socket_line
from upshift.reference import Command as UnitCommand
from upshift.report import Refusal, UpdateReport
from upshift.vectors import Vector
from upshift.words import word_bytes

DEFAULT_BAUD = 3_000_000
_EVENTS = ("clocks", "beats", "stalls", "waits")
_OFTEN = 1 << 29  # elements after which the board's counters are read, before they wrap
_NO_WORDS = np.zeros(0, np.int64)


class _Burst:
    """A burst that was submitted, in one or more commands."""

    def __init__(self, driver: Driver, commands: Sequence[Command]):
        self._driver = driver
        self.commands = commands

    @property
    def done(self) -> bool:
        return self.commands[-1].done

    def fields(self) -> dict[str, int]:
        """Return the fields of the sum of the reports; those of refused commands are zero."""
        reports = [command.report or {} for command in self.commands]
        needed = [report["needed"] for report in reports if report["needed_valid"]]
        total = {name: sum(report[name] for report in reports) for name in reports[0]}
        return total | {
            "needed_valid": int(bool(needed)),
            "needed": min(needed, default=0),
            "refusal": reports[0]["refusal"],  # the cause is the same for all
        }

    def result(self) -> UpdateReport:
        self._driver.wait(lambda: self.done)
        fields = self.fields()
        if fields["refusal"]:
            raise RefusedError(Refusal(fields["refusal"]))
        return layout.to_report(fields)


class LinkDevice(Device):
    """A board behind a line of bytes.

    Parameters
    ----------
    transport : Transport
        An open line. It is closed with the device.
    config : UnitConfig, optional
        What the board has to be; left out, any unit will do.
    timeout : float
        Seconds after which a board that does not answer is given up.
    reconnect : float
        Seconds after which a line that is gone is given up.
    rng : random.Random, optional
        Draws session numbers.

    Attributes
    ----------
    transport : Transport
    identity : dict
        What the board said of itself: fields of the IDENTITY answer.
    longest_burst : int
        Elements that are sure to fit one frame.

    Raises
    ------
    DeviceError
        If no board answers, or it is not the one it has to be.
    """

    distant = True

    def __init__(
        self,
        transport: Transport,
        config: UnitConfig | None = None,
        *,
        timeout: float = 5.0,
        reconnect: float = 30.0,
        rng: random.Random | None = None,
    ):
        rng = rng or random.SystemRandom()
        self.identity, found = identify(transport, rng, timeout)
        try:
            held = frames.configuration(self.identity)
        except ValueError as error:
            raise DeviceError(f"{transport.name}: {error}") from error
        if config is not None and config != held:
            raise DeviceError(
                f"{transport.name}: the board is {held.to_json()}, but it has to be "
                f"{config.to_json()}"
            )
        super().__init__(held)
        self.transport = transport
        self._longest = frames.max_payload(self.identity["frame_bytes"])
        room = self._longest - byte_width(ARGUMENTS[Request.UPDATE])
        self.longest_burst = room // word_bytes(held.gradient.width)
        self._mirror = Mirror(held)
        self._session = Session(
            self._mirror,
            self.identity,
            found=found,
            draw=lambda: rng.randrange(1, 1 << 32),
            now=transport.now(),
            timeout=timeout,
        )
        self._driver = Driver(transport, self._session, reconnect=reconnect)
        self._told = np.zeros(held.depth, np.bool_)  # weights that the mirror knows or will know
        self._pending: deque[_Burst] = deque()  # not counted yet
        self._bursts = self._elements = self._uncounted = self._losses = 0
        self._events = dict.fromkeys(_EVENTS, 0)
        self._seen = dict.fromkeys(_EVENTS, 0)
        self._driver.flush()

    def start(self) -> None:
        """Have a thread send and receive, so that `submit` returns at once."""
        self._driver.start()

    def play(self, vectors: Iterable[Vector]) -> list[dict[str, int]]:
        """Send commands as they are, those that the unit must refuse included.

        Parameters
        ----------
        vectors : iterable of Vector
            Of up to `longest_burst` elements.

        Returns
        -------
        list of dict
            The fields of each report (`upshift.layout.report`).

        Raises
        ------
        ValueError
            If a field or a gradient does not fit, or a burst is too long; nothing has been sent
            then.
        """
        self._check_open()
        commands = []
        for vector in vectors:
            layout.pack(layout.command(self.config), vector.command.fields())
            raw = self.config.gradient.check(vector.gradients)
            if vector.command.operation == Operation.RAISE:
                fields = {"resolution": vector.command.resolution}
                payload = pack(ARGUMENTS[Request.RAISE], fields)
                commands.append(Command(Request.RAISE, payload, _NO_WORDS))
                continue
            if raw.size > self.longest_burst:
                raise ValueError(
                    f"a burst of {raw.size} elements is not allowed: up to {self.longest_burst}"
                )
            commands += self._updates(vector.command, raw)
        self._learn(0, self.config.depth)
        bursts = [self._enqueue([command]) for command in commands]
        self._driver.flush()
        return [burst.fields() for burst in bursts]

    def test(self, count: int, data: bytes = b"", *, repeats: int = 1) -> bytes:
        """Have the board answer with bytes: the first of `data`, or as many as are missing.

        Parameters
        ----------
        count : int
            Bytes of each answer.
        data : bytes
            Sent along with each request.
        repeats : int
            Requests; they are sent without waiting for the answers.

        Returns
        -------
        bytes
            The answers, one behind the other.

        Raises
        ------
        ValueError
            If request or answer do not fit a frame.
        """
        self._check_open()
        fields = ARGUMENTS[Request.TEST]
        room = self._longest - byte_width(fields)
        if not 0 <= count <= self._longest or len(data) > room:
            raise ValueError(
                f"{count} bytes back for {len(data)} bytes are not allowed: "
                f"up to {self._longest} for up to {room}"
            )
        payload = pack(fields, {"count": count}) + data
        return b"".join(self._ask([Query(Request.TEST, payload, count) for _ in range(repeats)]))

    def read_status(self) -> dict[str, int]:
        """Return the fields of the board's STATUS answer."""
        self._check_open()
        fields = ANSWERS[Answer.STATUS]
        (answer,) = self._ask([Query(Request.STATUS, b"", byte_width(fields))])
        return unpack(fields, answer)

    def statistics(self) -> dict[str, int]:
        """Return what went over the line since the device was opened."""
        with self._driver.lock:
            session, reader = self._session, self._session.reader
            return {
                "bytes_sent": self._driver.bytes_sent,
                "bytes_received": self._driver.bytes_received,
                "frames_sent": session.sent,
                "frames_resent": session.resent,
                "frames_received": reader.frames,
                "frames_rejected": reader.rejected,
                "reconnects": self._driver.reconnects,
                "memory_losses": session.losses,
            }

    def close(self) -> None:
        """Do what was submitted and close the line."""
        if self._open:
            super().close()
            self._driver.close()

    # -- backend --------------------------------------------------------------------------------

    def _write(self, base: int, raw: NDArray[Any]) -> None:
        commands = [Command(*parts) for parts in writes(self.config, base, raw, self._longest)]
        self._driver.submit(commands)
        self._told[base : base + raw.size] = True

    def _read(self, base: int, count: int) -> Raw:
        size = word_bytes(self.config.weight.width)
        most = self._longest // size
        queries = []
        for start in range(0, count, most):
            part = min(most, count - start)
            payload = pack(ARGUMENTS[Request.READ], {"base": base + start, "count": part})
            queries.append(Query(Request.READ, payload, part * size))
        data = b"".join(self._ask(queries))
        raw = gradients.dense(self.config.weight, count, data)
        self._check_kept(base, count)
        with self._driver.lock:
            self._mirror.learn(base, raw)
        self._told[base : base + count] = True
        return raw

    def _checksum(self, base: int, count: int) -> int:
        fields = ANSWERS[Answer.CHECKSUM]
        payload = pack(ARGUMENTS[Request.CHECKSUM], {"base": base, "count": count})
        (answer,) = self._ask([Query(Request.CHECKSUM, payload, byte_width(fields))])
        self._check_kept(base, count)
        return unpack(fields, answer)["checksum"]

    def _submit(self, base: int, raw: NDArray[Any], rate: int, resolution: int) -> Pending:
        self._learn(base, raw.size)
        command = UnitCommand(Operation.UPDATE, base, raw.size, rate, resolution)
        return self._enqueue(self._updates(command, raw.copy()))  # the caller may reuse its own

    def _raise_floor(self, resolution: int) -> None:
        payload = pack(ARGUMENTS[Request.RAISE], {"resolution": resolution})
        command = Command(Request.RAISE, payload, _NO_WORDS)
        self._driver.submit([command])
        _Burst(self._driver, [command]).result()

    def _counters(self) -> Counters:
        self._driver.flush()
        self._tally()
        status = self.read_status()
        self._uncounted = 0
        with self._driver.lock:
            losses, self._losses = self._session.losses - self._losses, self._session.losses
        for name in _EVENTS:
            if losses:
                self._seen[name] = 0  # a board that lost its memory counts from zero
            self._events[name] += (status[name] - self._seen[name]) % (1 << 32)
            self._seen[name] = status[name]
        return Counters(self._bursts, self._elements, **self._events)

    # -- parts of it ------------------------------------------------------------------------------

    def _updates(self, command: UnitCommand, raw: NDArray[Any]) -> list[Command]:
        """Return the commands of a burst."""
        return [
            Command(Request.UPDATE, piece.payload, raw[piece.start : piece.stop])
            for piece in gradients.split(self.config, command, raw, self._longest)
        ]

    def _enqueue(self, commands: Sequence[Command]) -> _Burst:
        burst = _Burst(self._driver, commands)
        self._uncounted += sum(command.raw.size for command in commands)
        self._driver.submit(commands)
        self._pending.append(burst)
        self._tally()
        if self._uncounted > _OFTEN:
            self._counters()
        return burst

    def _tally(self) -> None:
        """Count the bursts that are done."""
        while self._pending and self._pending[0].done:
            elements = self._pending.popleft().fields()["elements"]
            self._elements += elements
            self._bursts += elements > 0

    def _learn(self, base: int, count: int) -> None:
        """Make sure that the mirror knows what is about to be updated."""
        if not self._told[base : base + count].all():
            self._read(base, count)

    def _check_kept(self, base: int, count: int) -> None:
        """Raise if weights were asked for that nobody knows any more."""
        if self._session.losses and not self._told[base : base + count].all():
            raise DeviceError(
                f"weights {base} to {base + count - 1} are not all known: the board has lost its "
                "memory, and this program has not written or read all of them before"
            )

    def _ask(self, queries: list[Query]) -> list[bytes]:
        self._driver.submit(queries)
        if queries:
            self._driver.wait(lambda: all(query.answer is not None for query in queries))
        return [query.answer or b"" for query in queries]


def open_serial(
    address: str,
    config: UnitConfig | None,
    default: UnitConfig,
    *,
    baud: str = str(DEFAULT_BAUD),
    timeout: str = "5",
) -> LinkDevice:
    """Open ``serial:///dev/ttyUSB0?baud=3000000``; boards ignore `default`."""
    port = address.removeprefix("//")
    if not port:
        found = ", ".join(ports()) or "none found"
        raise ValueError(f"needs a port, as in serial:///dev/ttyUSB0; ports here: {found}")
    if not baud.isdecimal() or not int(baud):
        raise ValueError(f"serial: option baud={baud!r} is not allowed: a rate such as 3000000")
    seconds = _positive("serial", "timeout", timeout)
    return _open(serial_line(port, int(baud)), config, seconds)


def open_socket(
    address: str, config: UnitConfig | None, default: UnitConfig, *, timeout: str = "5"
) -> LinkDevice:
    """Open ``socket://localhost:7000``; boards ignore `default`."""
    try:
        parts = urlsplit(f"socket:{address}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"socket:{address}: {error}") from error
    if not host or port is None:
        raise ValueError("needs host and port, as in socket://localhost:7000")
    seconds = _positive("socket", "timeout", timeout)
    return _open(socket_line(host, port), config, seconds)


def _positive(scheme: str, option: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ValueError(f"{scheme}: option {option}={text!r} is not allowed: a positive number")
    return value


def _open(transport: Transport, config: UnitConfig | None, timeout: float) -> LinkDevice:
    try:
        device = LinkDevice(transport, config, timeout=timeout)
    except BaseException:
        transport.close()
        raise
    device.start()
    return device
