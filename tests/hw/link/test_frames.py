"""Receiver and transmitter of frames, without what is behind them."""

import random
import zlib

import pytest

from upshift.link import cobs
from upshift.link.config import LinkConfig
from upshift.link.frames import HEADER, Frame, max_payload, pack
from upshift_hw.link.receive import FrameReceiver
from upshift_hw.link.transmit import FrameTransmitter

LINK = LinkConfig(clock=12_000_000, baud=1_000_000, frame_bytes=128)
LONGEST = max_payload(LINK.frame_bytes)


def checked(body):
    return cobs.encode(body + zlib.crc32(body).to_bytes(4, "little")) + cobs.DELIMITER


def frame(payload, *, length=None):
    """Return the bytes of a frame on the line, and before: its header may lie."""
    header = {"kind": 2, "sequence": 0x1234, "session": 0xDEADBEEF}
    body = pack(HEADER, header | {"length": len(payload) if length is None else length}) + payload
    return checked(body), body


class Receiving:
    """Drives a receiver of frames and collects what it passes on."""

    def __init__(self, context, dut):
        self.context, self.dut = context, dut
        self.taken = bytearray()

    async def clock(self, *, take=True):
        self.context.set(self.dut.o.ready, take)
        if take and self.context.get(self.dut.o.valid):
            self.taken.append(self.context.get(self.dut.o.payload))
        await self.context.tick()

    async def send(self, data, *, take=True):
        for byte in data:
            self.context.set(self.dut.i.payload, byte)
            self.context.set(self.dut.i.valid, 1)
            await self.clock(take=take)
        self.context.set(self.dut.i.valid, 0)

    async def drain(self):
        while self.context.get(self.dut.busy):
            await self.clock()
        taken = bytes(self.taken)
        self.taken.clear()
        return taken

    def counts(self):
        return self.context.get(self.dut.frames), self.context.get(self.dut.rejected)


@pytest.fixture
def receiving(run):
    def receiving(script):
        dut = FrameReceiver(LINK)

        async def testbench(context, reset):
            await script(Receiving(context, dut))

        run(dut, testbench)

    return receiving


def test_only_whole_frames_pass(receiving, seed):
    rng = random.Random(seed)
    good = [frame(rng.randbytes(n)) for n in (0, 1, 5, LONGEST - 1, LONGEST)]
    line, body = good[2]
    flipped = bytearray(line)
    flipped[4] ^= 0x10
    bad = [
        frame(b"", length=1)[0],
        frame(b"abc", length=2)[0],
        frame(b"abc", length=3 + 0x100)[0],
        frame(b"abc", length=0xFFFF)[0],
        frame(bytes(LONGEST + 1))[0],
        frame(rng.randbytes(5 * LINK.frame_bytes))[0],
        checked(body[:8]),
        checked(b""),
        checked(frame(b"")[1][:-1]),
        line[: len(line) // 2] + b"\0",
        bytes(flipped),
        line[1:],
        b"\1\0",
        b"\xff\0",
    ]

    async def script(line):
        for n in range(60):
            sent, body = rng.choice(good)
            await line.send(sent)
            assert await line.drain() == body
            assert line.counts() == (n + 1, n)
            await line.send(bad[n % len(bad)])
            assert await line.drain() == b""
            assert line.counts() == (n + 1, n + 1)
            await line.send(b"\0" * rng.randrange(3))

    receiving(script)


def test_two_of_the_longest_frames_wait_and_a_third_is_rejected(receiving):
    sent = [frame(bytes([n]) * LONGEST) for n in range(1, 5)]
    # Checks take no room.
    fits, rest = frame(b"x" * (2 * 4 - 9 + 1)), frame(b"")

    async def script(line):
        for n in range(3):
            await line.send(sent[n][0], take=False)
        assert line.counts() == (2, 1)
        await line.send(rest[0], take=False)
        assert line.counts() == (2, 2), "8 bytes of room and 9 of header"
        assert await line.drain() == sent[0][1] + sent[1][1]
        await line.send(sent[3][0] + fits[0])
        assert await line.drain() == sent[3][1] + fits[1]
        assert line.counts() == (4, 2)

    receiving(script)


def test_frames_are_taken_while_others_come(receiving, seed):
    rng = random.Random(seed)
    sent = [frame(rng.randbytes(rng.randrange(40))) for _ in range(40)]

    async def script(line):
        for data, _ in sent:
            await line.send(data, take=True)
        assert await line.drain() == b"".join(body for _, body in sent)
        assert line.counts() == (len(sent), 0)

    receiving(script)


def test_random_bytes_never_block_the_receiver(receiving, seed):
    rng = random.Random(seed)
    good = frame(b"after all that")

    async def script(line):
        for _ in range(8):
            zeros = rng.choice((0.3, 0.02, 0.002))
            await line.send(0 if rng.random() < zeros else rng.randrange(256) for _ in range(500))
            await line.send(b"\0" + good[0])
            assert await line.drain() == good[1]

    receiving(script)


@pytest.mark.parametrize("hurry", [1.0, 0.4])
def test_transmitter_appends_the_check_and_stuffs(run, seed, hurry):
    rng = random.Random(seed)
    dut = FrameTransmitter()
    frames = [
        Frame(rng.choice((0, 0x82)), 0, rng.getrandbits(32), rng.randbytes(rng.choice((0, 9, 300))))
        for _ in range(8)
    ]
    bodies = [frame.to_bytes()[:-4] for frame in frames]
    waiting = [(byte, n == len(body) - 1) for body in bodies for n, byte in enumerate(body)]
    got = bytearray()

    async def testbench(context, reset):
        place = 0
        while place < len(waiting) or context.get(dut.busy):
            if place < len(waiting):
                context.set(dut.i.payload, dict(zip(("byte", "last"), waiting[place], strict=True)))
            context.set(dut.i.valid, place < len(waiting))
            context.set(dut.o.ready, rng.random() < hurry)
            if context.get(dut.i.valid) and context.get(dut.i.ready):
                place += 1
            if context.get(dut.o.valid) and context.get(dut.o.ready):
                got.append(context.get(dut.o.payload))
            await context.tick()

    run(dut, testbench)
    assert [Frame.from_bytes(cobs.decode(part)) for part in got.split(b"\0")[:-1]] == frames
    assert bytes(got) == b"".join(cobs.encode(frame.to_bytes()) + b"\0" for frame in frames)
