"""The digits network learns through a served board, whatever happens to the cable or the host."""

import random
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from upshift import training
from upshift.config import UnitConfig
from upshift.link.config import LinkConfig
from upshift_sim.board import VirtualBoard
from upshift_sim.server import PtyLine, SocketLine, serve

CONFIG = UnitConfig(depth=10_240)
LINK = LinkConfig(clock=4_000_000, baud=1_000_000, frame_bytes=1024)
BYTES_PER_FAULT = 3000
BYTES_PER_PULL = 40_000


class BadCable:
    """A line on which bytes are lost, doubled and damaged now and then, both ways."""

    def __init__(self, line, seed):
        self.line = line
        self.random = random.Random(seed)
        self.faults = 0
        self.url, self.wait, self.close = line.url, line.wait, line.close

    def read(self, count):
        return self.damage(self.line.read(count))

    def write(self, data):
        taken = len(data)
        data = self.damage(data)
        while data:
            data = data[self.line.write(data) :]
            self.line.wait(0.1, reading=False, writing=True)
        return taken

    def damage(self, data):
        some = bytearray(data)
        for _ in range(len(data)):
            if self.random.random() * BYTES_PER_FAULT < 1 and some:
                at = self.random.randrange(len(some))
                kept = self.random.choice([b"", some[at : at + 1] * 2, bytes([some[at] ^ 16])])
                some[at : at + 1] = kept
                self.faults += 1
        return bytes(some)


class PulledCable(SocketLine):
    """A line that is gone now and then, and every second time the board's power with it."""

    def __init__(self, board):
        super().__init__()
        self.board = board
        self.left = BYTES_PER_PULL
        self.pulls = 0

    def read(self, count):
        data = super().read(count)
        self.left -= len(data)
        if self.left > 0:
            return data
        self._hang_up()
        self.left = BYTES_PER_PULL
        self.pulls += 1
        if self.pulls % 2 == 0:
            self.board.power_cycle()
        return data[: len(data) // 2]


@pytest.fixture
def board(cache):
    virtual = VirtualBoard(CONFIG, LINK)
    yield virtual
    virtual.close()


@contextmanager
def served(board, line):
    """Serve a board in a thread of its own."""
    stop = threading.Event()
    server = threading.Thread(target=serve, args=(board, line, stop.is_set))
    server.start()
    try:
        yield line
    finally:
        stop.set()
        server.join()
        line.close()


def digests(url, epochs=1, **options):
    """Return the digest of the weights of each holder in the end."""
    *_, outcome = training.train(url, epochs=epochs, seed=5, **options)
    return set(outcome.digests.values())


def test_training_over_a_bad_cable_has_the_bits_of_a_clean_run(board, seed):
    with served(board, BadCable(PtyLine(), seed)) as cable:
        learned = digests(cable.url)
    assert cable.faults > 30
    assert board.status()["rejected"] > 10
    assert learned == digests("model:"), "all holders, over either line, hold the same"


def test_training_goes_on_when_the_cable_was_out_or_the_power_gone(board):
    with served(board, PulledCable(board)) as cable:
        learned = digests(cable.url)
    assert cable.pulls > 3
    assert learned == digests("model:")


def test_a_host_that_was_killed_goes_on_from_its_checkpoint(board, tmp_path):
    file = tmp_path / "run.npz"
    code = "import sys; from upshift import cli; sys.exit(cli.main(sys.argv[1:]))"
    with served(board, PtyLine()) as line:
        train = ["train", "--device", line.url, "--seed", "5", "--epochs", "9"]
        with subprocess.Popen(
            [sys.executable, "-c", code, *train, "--checkpoint", str(file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as host:
            heading, first = next(host.stdout), next(host.stdout)
            host.kill()
        assert host.returncode == -signal.SIGKILL
        assert (heading.split()[0], first.split()[0]) == ("epoch", "0")
        learned = digests(line.url, epochs=2, checkpoint=file, resume=True)
    assert learned == digests("model:", epochs=2)
