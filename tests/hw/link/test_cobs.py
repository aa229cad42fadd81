"""Stuffing in gateware is stuffing in software."""

import random

import pytest

from upshift.link import cobs
from upshift_hw.link.cobs import CobsDecoder, CobsEncoder

EDGES = [
    bytes(1),
    bytes(3),
    b"\1",
    b"\0\1\0",
    *(b"\7" * n for n in (253, 254, 255, 508, 509)),
    *(b"\7" * n + b"\0" for n in (253, 254, 255, 508)),
    *(b"\0" + b"\7" * n for n in (253, 254, 255)),
]


def frames(seed):
    rng = random.Random(seed)
    for _ in range(10):
        zeros = rng.choice((0.001, 0.1, 0.8))
        yield bytes(
            0 if rng.random() < zeros else rng.randrange(256) for _ in range(rng.randint(1, 300))
        )


def test_decoder(run, seed):
    dut = CobsDecoder()
    rng = random.Random(seed)
    stuffed = [cobs.encode(frame) for frame in [*EDGES, *frames(seed)]]
    for good in stuffed[:12]:  # codes that are wrong, frames that are cut
        damaged = bytearray(good)
        damaged[rng.randrange(len(good))] = rng.randrange(1, 256)
        stuffed += [bytes(damaged), good[: rng.randrange(1, len(good))] or good]
    stuffed.insert(3, b"")

    async def testbench(context, reset):
        for part in stuffed:
            got = bytearray()
            for byte in part:
                context.set(dut.i.payload, byte)
                context.set(dut.i.valid, 1)
                assert not context.get(dut.ends)
                if context.get(dut.o.valid):
                    got.append(context.get(dut.o.payload))
                await context.tick()
                context.set(dut.i.valid, 0)
                assert context.get(dut.busy)
                if rng.random() < 0.1:
                    await context.tick()
            context.set(dut.i.payload, 0)
            context.set(dut.i.valid, 1)
            assert not context.get(dut.o.valid)
            assert context.get(dut.ends) == bool(part)
            try:
                expected = cobs.decode(part)
            except ValueError:
                expected = None
            if part:
                assert context.get(dut.whole) == (expected is not None), part
            await context.tick()
            assert not context.get(dut.busy)
            assert expected is None or bytes(got) == expected

    run(dut, testbench)


def test_a_lost_byte_condemns_the_frame_it_belongs_to_and_no_other(run):
    dut = CobsDecoder()
    stuffed = cobs.encode(b"abc") + b"\0"

    async def testbench(context, reset):
        for lost_before, whole in ((0, 1), (2, 0), (None, 1)):
            for place, byte in enumerate(stuffed):
                if place == lost_before:
                    context.set(dut.error, 1)
                    await context.tick()
                    context.set(dut.error, 0)
                context.set(dut.i.payload, byte)
                context.set(dut.i.valid, 1)
                if byte == 0:
                    assert context.get(dut.ends)
                    assert context.get(dut.whole) == whole
                await context.tick()
                context.set(dut.i.valid, 0)

    run(dut, testbench)


@pytest.mark.parametrize("hurry", [1.0, 0.6, 0.1])
def test_encoder(run, seed, hurry):
    """Whoever is slower, the sender of bytes or the line."""
    dut = CobsEncoder()
    rng = random.Random(seed)
    sent = [*EDGES, *frames(seed)] if hurry == 1 else list(frames(seed))
    expected = b"".join(cobs.encode(frame) + b"\0" for frame in sent)
    bytes_left = [(byte, n == len(frame) - 1) for frame in sent for n, byte in enumerate(frame)]
    bytes_left.reverse()
    got = bytearray()
    clocks = 0

    async def testbench(context, reset):
        nonlocal clocks
        offered = False
        while bytes_left or context.get(dut.busy):
            offered = bool(bytes_left) and (offered or rng.random() < 1.1 - hurry)
            context.set(dut.i.valid, offered)
            if offered:
                context.set(dut.i.payload, dict(zip(("byte", "last"), bytes_left[-1], strict=True)))
            context.set(dut.o.ready, rng.random() < hurry)
            if offered and context.get(dut.i.ready):
                bytes_left.pop()
                offered = False
            if context.get(dut.o.valid) and context.get(dut.o.ready):
                got.append(context.get(dut.o.payload))
            await context.tick()
            clocks += 1
        assert not context.get(dut.o.valid)

    run(dut, testbench)
    assert bytes(got) == expected
