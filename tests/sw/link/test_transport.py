"""The driver on real lines: pseudo-terminals and sockets, with the model of a board behind them."""

import errno
import os
import select
import socket
import threading
import time
import tty
from contextlib import contextmanager

import numpy as np
import pytest
import serial

import upshift.device
from upshift.config import UnitConfig
from upshift.device import DeviceError
from upshift.link import driver
from upshift.link.board import BoardModel
from upshift.link.config import LinkConfig
from upshift.link.transport import LineLost, serial_line, socket_line
from upshift.reference import step

CONFIG = UnitConfig(lanes=4, depth=4096)
LINK = LinkConfig(clock=12_000_000, baud=3_000_000, frame_bytes=256)
GOOD = {"rate": 1, "resolution": 9}


class Far:
    """The far end of a line: a thread that answers what comes."""

    def __init__(self, answer):
        self.answer = answer
        self.running = threading.Event()
        self.running.set()  # cleared, the far end does not read
        self._stop = False
        self._thread = threading.Thread(target=self._serve)

    def start(self):
        self._thread.start()
        return self

    def stop(self):
        self._stop = True
        self.running.set()
        self._thread.join()

    def _serve(self):
        while not self._stop:
            self.running.wait()
            if data := self.read():
                self.write(self.answer(data))


class FarPty(Far):
    def __init__(self, answer):
        super().__init__(answer)
        self.fd, self.held = os.openpty()
        tty.setraw(self.held)
        self.path = os.ttyname(self.held)
        self.url = f"serial://{self.path}"

    def read(self):
        ready = select.select([self.fd], [], [], 0.02)[0]
        return os.read(self.fd, 65536) if ready else b""

    def write(self, data):
        while data and not self._stop:
            if select.select([], [self.fd], [], 0.02)[1]:
                data = data[os.write(self.fd, data[:256]) :]

    def stop(self):
        super().stop()
        os.close(self.held)
        os.close(self.fd)


class FarSocket(Far):
    def __init__(self, answer):
        super().__init__(answer)
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.settimeout(0.02)
        self.client = None
        self.url = "socket://127.0.0.1:{1}".format(*self.server.getsockname())

    def read(self):
        try:
            if self.client is None:
                self.client, _ = self.server.accept()
                self.client.settimeout(0.02)
            if data := self.client.recv(65536):
                return data
            self.hang_up()
        except TimeoutError:
            pass
        except OSError:
            self.hang_up()
        return b""

    def write(self, data):
        self.client.settimeout(5)
        self.client.sendall(data)
        self.client.settimeout(0.02)

    def hang_up(self):
        if self.client is not None:
            self.client.close()
            self.client = None

    def stop(self):
        super().stop()
        self.hang_up()
        self.server.close()


@contextmanager
def served(kind, answer=None):
    far = kind(answer or BoardModel(CONFIG, LINK).receive).start()
    try:
        yield far
    finally:
        far.stop()


def train(device, rng, bursts=20):
    """Update at random; return the weights that must come of it."""
    weights = rng.integers(-1000, 1000, CONFIG.depth)
    device.write(0, weights)
    pending = []
    for _ in range(bursts):
        words = rng.integers(-(2**15), 2**15, 3000)
        part = weights[500:3500]
        part[:], report = step(part, words, config=CONFIG, **GOOD)
        pending.append((device.submit(500, words, **GOOD), report))
    for burst, report in pending:
        assert burst.result() == report
    return weights


@pytest.mark.parametrize("kind", [FarPty, FarSocket])
def test_a_board_behind_a_real_line(rng, kind):
    with served(kind) as far, upshift.device.open(far.url) as device:
        assert device.config == CONFIG
        weights = train(device, rng)
        assert device.read(0, CONFIG.depth).tolist() == weights.tolist()
        assert device.test(200, b"abc", repeats=20)[:5] == b"abc\3\4"
        assert device.statistics()["frames_resent"] == 0


def test_the_board_outlives_its_driver(rng):
    with served(FarPty) as far:
        with upshift.device.open(far.url, CONFIG) as device:
            weights = train(device, rng, 1)
        with upshift.device.open(far.url, CONFIG) as device:
            assert device.read(0, CONFIG.depth).tolist() == weights.tolist()


def test_submit_returns_at_once_and_close_waits(rng):
    board = BoardModel(CONFIG, LINK)
    with served(FarPty, board.receive) as far:
        device = upshift.device.open(far.url)
        device.write(0, np.zeros(CONFIG.depth, np.int64))
        device.read(0, 1)
        far.running.clear()
        pending = [device.submit(0, np.full(4000, 640), **GOOD) for _ in range(3)]
        assert not any(burst.done for burst in pending)
        far.running.set()
        device.close()
        assert all(burst.result().nonzero == 4000 for burst in pending)
    assert len(set(board.unit.weights[:4000])) == 1


def test_submit_waits_where_too_much_is_queued(rng, monkeypatch):
    monkeypatch.setattr(driver, "_QUEUE_BYTES", 20_000)
    with served(FarPty) as far, upshift.device.open(far.url) as device:
        device.write(0, np.zeros(CONFIG.depth, np.int64))
        device.read(0, 1)
        far.running.clear()
        words = np.full(4000, 640)
        count = []

        def submit():
            for _ in range(10):
                count.append(device.submit(0, words, **GOOD))

        thread = threading.Thread(target=submit)
        thread.start()
        time.sleep(0.2)
        assert thread.is_alive()
        assert 2 <= len(count) <= 6
        far.running.set()
        thread.join()
        assert [burst.result().nonzero for burst in count] == [4000] * 10


def test_a_port_that_vanishes_and_comes_back(rng, tmp_path):
    """A cable that is pulled in mid-run; the name of the port stays, as udev can arrange."""
    board = BoardModel(CONFIG, LINK)
    port = tmp_path / "ttyBoard"
    first = FarPty(board.receive).start()
    port.symlink_to(first.path)
    with upshift.device.open(f"serial://{port}") as device:
        weights = train(device, rng, 2)
        first.running.clear()
        words = rng.integers(-(2**15), 2**15, 4000)
        pending = device.submit(0, words, **GOOD)
        port.unlink()
        first.stop()
        time.sleep(0.3)
        with served(FarPty, board.receive) as second:
            port.symlink_to(second.path)
            part = weights[:4000]
            part[:], report = step(part, words, config=CONFIG, **GOOD)
            assert pending.result() == report
            assert device.read(0, CONFIG.depth).tolist() == weights.tolist()
            assert device.statistics()["reconnects"] == 1
            device.close()


def test_a_port_that_nobody_needs_may_stay_away(rng, tmp_path):
    board = BoardModel(CONFIG, LINK)
    port = tmp_path / "ttyBoard"
    with served(FarPty, board.receive) as first:
        port.symlink_to(first.path)
        device = upshift.device.open(f"serial://{port}")
        device._driver._reconnect = 0.2
        weights = train(device, rng, 1)
        port.unlink()
    time.sleep(0.5)
    with served(FarPty, board.receive) as second:
        port.symlink_to(second.path)
        time.sleep(0.2)
        assert device.read(0, CONFIG.depth).tolist() == weights.tolist()
        device.close()


def test_a_port_that_vanishes_for_good(rng):
    far = FarSocket(BoardModel(CONFIG, LINK).receive).start()
    device = upshift.device.open(far.url)
    device._driver._reconnect = 0.3
    train(device, rng, 1)
    far.stop()
    with pytest.raises(DeviceError) as error:
        device.read(0, 1)
    device.close()
    assert "the line is gone" in str(error.value)
    assert "it did not come back for 0.3 s" in str(error.value)
    assert "commands are applied" in str(error.value)


@pytest.mark.parametrize("kind", [FarPty, FarSocket])
def test_nothing_answers(kind):
    with (
        served(kind, lambda data: b"") as far,
        pytest.raises(DeviceError, match=r"nothing answered within 0\.3 s; is the board powered"),
    ):
        upshift.device.open(f"{far.url}?timeout=0.3")


@pytest.mark.parametrize("answer", [lambda data: data, lambda data: b"login: "])
def test_something_else_answers(answer):
    message = r"another program or gateware is on the port, .* bytes came: (00 .* 01|6c 6f 67)"
    with served(FarPty, answer) as far, pytest.raises(DeviceError, match=message):
        upshift.device.open(f"{far.url}?timeout=0.3")


def test_a_port_that_is_missing():
    with pytest.raises(DeviceError, match=r"serial:///dev/ttyNone: there is no such port; serial"):
        upshift.device.open("serial:///dev/ttyNone")


def test_a_port_that_another_program_has():
    message = "serial://.* is busy: another program has opened it"
    with (
        served(FarPty) as far,
        upshift.device.open(far.url),
        pytest.raises(DeviceError, match=message),
    ):
        upshift.device.open(far.url)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (serial.SerialException(errno.EACCES, "no"), "permission denied.*group dialout.*udev rule"),
        (serial.SerialException("strange"), "serial://port cannot be opened: strange"),
        (ValueError("Invalid baud rate: 7"), "serial://port does not take baud=7: Invalid baud"),
    ],
)
def test_a_port_that_cannot_be_opened(monkeypatch, error, message):
    def refuse(*arguments, **options):
        raise error

    monkeypatch.setattr(serial, "Serial", refuse)
    with pytest.raises(DeviceError, match=message):
        upshift.device.open("serial:port?baud=7")


def test_a_file_is_no_port(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DeviceError, match="file cannot be opened: Could not configure port"):
        upshift.device.open(f"serial://{tmp_path}/file")


def test_a_socket_where_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(DeviceError, match=f"127.0.0.1:{port} cannot be reached: .*refused"):
        upshift.device.open(f"socket://127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("serial:", "needs a port, as in serial:///dev/ttyUSB0; ports here: "),
        ("serial:x?baud=fast", "serial: option baud='fast' is not allowed: a rate such as 3000000"),
        ("serial:x?baud=0.5", "option baud='0.5' is not allowed"),
        ("serial:x?baud=0", "option baud='0' is not allowed"),
        ("serial:x?timeout=0", "serial: option timeout='0' is not allowed"),
        ("serial:x?speed=1", "serial: has no option 'speed'"),
        ("socket:", "needs host and port, as in socket://localhost:7000"),
        ("socket://localhost", "needs host and port"),
        ("socket://localhost:99999", "socket://localhost:99999: Port out of range"),
        ("socket://localhost:1?timeout=inf", "option timeout='inf' is not allowed"),
    ],
)
def test_impossible_addresses(url, message):
    with pytest.raises(ValueError, match=message):
        upshift.device.open(url)


def test_a_wait_ends_when_another_thread_wakes_it():
    with served(FarPty, lambda data: b"") as far:
        line = serial_line(far.path, 9600)
        threading.Timer(0.1, line.wake).start()
        start = time.monotonic()
        assert line.exchange(b"", float("inf")) == (0, b"")
        assert time.monotonic() - start < 5
        line.close()
        with pytest.raises(LineLost, match="not open"):
            line.exchange(b"", 0)


def test_a_line_takes_what_it_can():
    with served(FarSocket, lambda data: b"") as far:
        far.running.clear()
        line = socket_line("127.0.0.1", far.server.getsockname()[1])
        taken = 0
        while accepted := line.exchange(bytes(1 << 20), 0.05)[0]:
            taken += accepted
        assert taken > 1000
        line.close()
