"""Lines of bytes: serial ports and sockets, opened, configured and watched.

A line only moves bytes. Whether they arrive is the session's concern; that the line is gone is
raised as `LineLost`, and why it cannot be opened as a DeviceError that says what to do.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import time
from collections.abc import Callable
from typing import Protocol

from upshift.device import DeviceError

_CHUNK = 1 << 16


class LineLost(DeviceError):  # noqa: N818  (a state of the line, as the message says)
    """The line was open and is gone."""


class Transport(Protocol):
    """A line of bytes to a board.

    Attributes
    ----------
    name : str
        The URL, for messages.
    """

    name: str

    def exchange(self, data: bytes, timeout: float) -> tuple[int, bytes]:
        """Send and receive what can be without waiting; wait if that is nothing.

        Parameters
        ----------
        data : bytes
            What is to be sent; may be empty.
        timeout : float
            The most seconds to wait until something can be sent or is received; may be infinite.

        Returns
        -------
        accepted : int
            Bytes of `data` that were taken.
        received : bytes

        Raises
        ------
        LineLost
        """
        ...

    def reopen(self, pause: float) -> None:
        """Wait for `pause` seconds and try to open the line again.

        Raises
        ------
        DeviceError
            If that failed.
        """
        ...

    def now(self) -> float:
        """Return the time in seconds, from any beginning."""
        ...

    def wake(self) -> None:
        """End the wait that another thread is in, or its next one."""
        ...

    def close(self) -> None:
        """Close the line for good."""
        ...


class _Open(Protocol):
    """What is open: a port or a socket."""

    def fileno(self) -> int: ...

    def close(self) -> None: ...


class DescriptorTransport:
    """A line behind a file descriptor that does not block.

    Parameters
    ----------
    name : str
    opener : callable
        Opens the line, or raises a DeviceError.
    """

    def __init__(self, name: str, opener: Callable[[], _Open]):
        self.name = name
        self._opener = opener
        self._line: _Open | None = opener()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    def exchange(self, data: bytes, timeout: float) -> tuple[int, bytes]:
        """See `Transport`."""
        if self._line is None:
            raise LineLost("the line is not open")
        descriptor = self._line.fileno()
        try:
            accepted = _write(descriptor, data)
            wanted = select.POLLIN | (0 if accepted or not data else select.POLLOUT)
            events = self._wait(descriptor, wanted, 0 if accepted else timeout)
            if events & select.POLLOUT:
                accepted = _write(descriptor, data)
            # Ports return nothing where nothing came, so only what is ready may be read.
            received = _read(descriptor) if events & ~select.POLLOUT else b""
        except OSError as error:
            self._drop()
            raise LineLost(f"the line is gone: {error.strerror or error}") from error
        return accepted, received

    def reopen(self, pause: float) -> None:
        """See `Transport`."""
        self._drop()
        self._wait(None, 0, pause)
        self._line = self._opener()

    def now(self) -> float:
        """See `Transport`."""
        return time.monotonic()

    def wake(self) -> None:
        """See `Transport`."""
        with contextlib.suppress(BlockingIOError):  # full, so it is awake
            os.write(self._wake_write, b"\0")

    def close(self) -> None:
        """See `Transport`."""
        self._drop()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _wait(self, descriptor: int | None, wanted: int, timeout: float) -> int:
        """Wait for events of a descriptor, or to be woken, and return the events."""
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        if descriptor is not None:
            poll.register(descriptor, wanted)
        ready = dict(poll.poll(None if timeout == float("inf") else max(0, timeout) * 1000))
        if ready.pop(self._wake_read, 0):
            os.read(self._wake_read, _CHUNK)
        return ready.get(descriptor, 0) if descriptor is not None else 0

    def _drop(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            with contextlib.suppress(OSError):  # what is gone need not be closed
                line.close()


def _write(descriptor: int, data: bytes) -> int:
    if data:
        with contextlib.suppress(BlockingIOError):
            return os.write(descriptor, data)
    return 0


def _read(descriptor: int) -> bytes:
    with contextlib.suppress(BlockingIOError):
        if received := os.read(descriptor, _CHUNK):
            return received
        raise OSError(errno.EIO, "closed by the other end")
    return b""


def serial_line(port: str, baud: int) -> DescriptorTransport:
    """Open a serial port, for this program alone.

    Raises
    ------
    DeviceError
        If there is no such port, permission is missing, another program has it or it does not
        take the baud rate.
    """
    import serial

    name = f"serial://{port}"

    def opener() -> _Open:
        try:
            line = serial.Serial(port, baud, timeout=0, write_timeout=0, exclusive=True)
        except serial.SerialException as error:
            raise DeviceError(_reason(name, port, error)) from error
        except (ValueError, OverflowError) as error:
            raise DeviceError(f"{name} does not take baud={baud}: {error}") from error
        with contextlib.suppress(ValueError, NotImplementedError, OSError):
            line.set_low_latency_mode(True)  # USB bridges hold bytes back for 16 ms otherwise
        opened: _Open = line
        return opened

    return DescriptorTransport(name, opener)


def socket_line(host: str, port: int) -> DescriptorTransport:
    """Connect to a board behind a TCP port.

    Raises
    ------
    DeviceError
        If nothing listens there.
    """
    name = f"socket://{host}:{port}"

    def opener() -> _Open:
        try:
            line = socket.create_connection((host, port), timeout=5)
        except OSError as error:
            raise DeviceError(f"{name} cannot be reached: {error.strerror or error}") from error
        line.setblocking(False)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return line

    return DescriptorTransport(name, opener)


def ports() -> list[str]:
    """Return the serial ports of this machine, with what is known of each."""
    from serial.tools import list_ports

    return [f"{port.device} ({port.description})" for port in sorted(list_ports.comports())]


def _reason(name: str, port: str, error: OSError) -> str:
    number = error.errno
    if number == errno.ENOENT:
        found = ", ".join(ports()) or "none"
        return f"{name}: there is no such port; serial ports of this machine: {found}"
    if number in (errno.EACCES, errno.EPERM):
        return (
            f"{name}: permission denied. Serial ports usually belong to the group dialout: "
            "'sudo usermod -a -G dialout $USER' and a new login; or a udev rule such as "
            'KERNEL=="ttyUSB[0-9]*", MODE="0666" in /etc/udev/rules.d/99-upshift.rules'
        )
    if number in (errno.EBUSY, errno.EAGAIN):
        return f"{name} is busy: another program has opened it"
    return f"{name} cannot be opened: {error.strerror or error}"
