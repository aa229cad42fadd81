"""Lines of a served board: nothing is lost, whatever the client does, and nothing hangs."""

import contextlib
import os
import select
import socket
import threading
import time
import tty

import pytest

from upshift_sim.server import PtyLine, SocketLine, serve


class Echo:
    """Stands for a board: gives every byte back, a few per run."""

    def __init__(self, per_run=1000):
        self.per_run = per_run
        self._in = b""
        self._out = b""

    @property
    def queued(self):
        return len(self._in)

    def feed(self, data):
        self._in += data

    def run(self, clocks, *, until_frame):
        now, self._in = self._in[: self.per_run], self._in[self.per_run :]
        self._out += now
        return len(now)

    def take(self):
        out, self._out = self._out, b""
        return out


@contextlib.contextmanager
def serving(line):
    stop = threading.Event()
    thread = threading.Thread(target=serve, args=(Echo(), line, stop.is_set))
    thread.start()
    try:
        yield line
    finally:
        stop.set()
        thread.join(5)
        assert not thread.is_alive()
        line.close()


@pytest.fixture(params=[PtyLine, SocketLine])
def line(request):
    with serving(request.param()) as line:
        yield line


class Client:
    """The other end of a line."""

    def __init__(self, line):
        scheme, _, address = line.url.partition("://")
        if scheme == "serial":
            self._fd = os.open(address, os.O_RDWR | os.O_NOCTTY)
            tty.setraw(self._fd)
            self.close = lambda: os.close(self._fd)
        else:
            host, port = address.split(":")
            connection = socket.create_connection((host, int(port)))
            self._fd, self.close = connection.fileno(), connection.close
        os.set_blocking(self._fd, False)

    def write(self, data, seconds=5.0):
        """Write what goes within some seconds and return the rest."""
        end, rest = time.monotonic() + seconds, memoryview(data)
        while rest and (left := end - time.monotonic()) > 0:
            if select.select([], [self._fd], [], left)[1]:
                rest = rest[os.write(self._fd, rest[:65536]) :]
        return bytes(rest)

    def read(self, count, seconds=5.0):
        data, end = bytearray(), time.monotonic() + seconds
        while len(data) < count and (left := end - time.monotonic()) > 0:
            if select.select([self._fd], [], [], left)[0]:
                data += os.read(self._fd, count - len(data))
        return bytes(data)


def test_bytes_go_through_unchanged(line):
    client = Client(line)
    everything = bytes(range(256)) * 8  # control characters of terminals included
    assert client.write(everything) == b""
    assert client.read(len(everything)) == everything
    client.close()


def test_a_client_that_does_not_read_is_waited_for_and_loses_nothing(line):
    client = Client(line)
    data = os.urandom(8 << 20)
    rest = client.write(data, seconds=0.5)
    assert rest, "the line does not take without end what nobody reads back"
    sent = data[: len(data) - len(rest)]
    assert client.read(len(sent), seconds=60) == sent
    client.close()


def test_clients_come_and_go(line):
    for n in range(5):
        client = Client(line)
        assert client.write(bytes([n]) * 1000) == b""
        if n % 2:
            assert client.read(1000) == bytes([n]) * 1000
            client.close()
            continue
        client.close()  # with everything on the way
        time.sleep(0.05)
        client = Client(line)
        client.read(1 << 20, seconds=0.1)
        assert client.write(b"again") == b""
        assert client.read(5) == b"again"
        client.close()


def test_a_tcp_port_is_bound_to_this_machine_only():
    line = SocketLine()
    assert line.url.startswith("socket://127.0.0.1:")
    line.close()


def test_a_second_client_is_turned_away_and_the_first_stays():
    line = SocketLine()
    with serving(line):
        first = Client(line)
        assert first.write(b"one") == b""
        assert first.read(3) == b"one"
        for _ in range(3):
            host, port = line.url.removeprefix("socket://").split(":")
            with socket.create_connection((host, int(port)), timeout=5) as second:
                assert second.recv(1) == b"", "closed, which a client sees at once"
        assert first.write(b"two") == b""
        assert first.read(3) == b"two"
        first.close()
