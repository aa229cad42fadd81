"""The digits network learns through a served board on a bad cable, with the bits of a clean run."""

import random
import threading

from upshift import training
from upshift.config import UnitConfig
from upshift.link.config import LinkConfig
from upshift_sim.board import VirtualBoard
from upshift_sim.server import PtyLine, serve

CONFIG = UnitConfig(depth=10_240)
LINK = LinkConfig(clock=4_000_000, baud=1_000_000, frame_bytes=1024)
BYTES_PER_FAULT = 3000


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


def digests(url):
    """Return the digest of the weights of each holder after an epoch."""
    *_, outcome = training.train(url, epochs=1, seed=5)
    return set(outcome.digests.values())


def test_training_over_a_bad_cable_has_the_bits_of_a_clean_run(cache, seed):
    board, stop = VirtualBoard(CONFIG, LINK), threading.Event()
    cable = BadCable(PtyLine(), seed)
    server = threading.Thread(target=serve, args=(board, cable, stop.is_set))
    server.start()
    try:
        learned = digests(cable.url)
    finally:
        stop.set()
        server.join()
        cable.close()
    assert cable.faults > 30
    assert board.status()["rejected"] > 10
    assert learned == digests("model:"), "all holders, over either line, hold the same"
    board.close()
