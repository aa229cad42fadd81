"""The decoder of UPDATE data alone, against the one in software."""

import random

import pytest

from upshift.config import UnitConfig
from upshift.formats import Fixed, bfloat16, float32
from upshift.link import gradients
from upshift.words import word_bytes
from upshift_hw.link.gradients import GradientDecoder

CONFIGS = [
    UnitConfig(lanes=1, gradient=Fixed(16, 12), depth=100),
    UnitConfig(lanes=4, gradient=Fixed(8, 4), depth=100),
    UnitConfig(lanes=8, gradient=Fixed(9, 4), depth=96),
    UnitConfig(lanes=32, gradient=Fixed(17, 4), depth=128),
    UnitConfig(lanes=2, gradient=bfloat16, depth=100),
    UnitConfig(lanes=8, gradient=float32, depth=96),
]
every_config = pytest.mark.parametrize(
    "config", CONFIGS, ids=[f"{c.lanes}-{c.gradient}" for c in CONFIGS]
)


@pytest.fixture
def decode(run):
    """Function that decodes bursts and returns the elements of each, and the clocks it took."""

    def decode(config, bursts, *, rng=None):
        dut = GradientDecoder(config)
        results = []

        async def testbench(context, reset):
            for base, count, masked, data in bursts:
                beats, clocks, place = [], 0, 0
                context.set(dut.first_lane, base % config.lanes)
                context.set(dut.masked, masked)
                await context.tick()
                context.set(dut.enable, 1)
                while len(beats) < config.beats(base, count):
                    context.set(dut.i.valid, rng is None or rng.random() < 0.8)
                    context.set(dut.i.payload, data[place] if place < len(data) else 0)
                    context.set(dut.o.ready, rng is None or rng.random() < 0.5)
                    place += context.get(dut.i.valid) and context.get(dut.i.ready)
                    if context.get(dut.o.valid) and context.get(dut.o.ready):
                        beats.append([context.get(lane) for lane in dut.o.payload])
                    await context.tick()
                    clocks += 1
                for _ in range(rng.randrange(4) if rng else 0):  # the next beat may begin
                    await context.tick()
                context.set(dut.enable, 0)
                first = base % config.lanes
                elements = [element for beat in beats for element in beat]
                results.append((elements[first : first + count], clocks))

        run(dut, testbench)
        return results

    return decode


@every_config
def test_bursts(decode, seed, config):
    rng = random.Random(seed)
    bursts, expected = [], []
    for n in range(16):
        base = rng.randrange(config.depth)
        count = rng.randint(1, min(config.depth - base, 48))
        masked = n % 2
        size = rng.choice((0, 1, 7, 40, 400))
        data = bytes(rng.choice((0, rng.randrange(256))) for _ in range(size))
        bursts.append((base, count, masked, data))
        if masked:
            expected.append(gradients.masked(config, base, count, data).tolist())
        else:
            expected.append(gradients.dense(config.gradient, count, data).tolist())
    assert [elements for elements, _ in decode(config, bursts, rng=rng)] == expected


@every_config
def test_a_byte_is_taken_in_every_clock_or_nearly(decode, config):
    size, mask = word_bytes(config.gradient.width), word_bytes(config.lanes)
    count = 2 * config.lanes
    dense = bytes(count * size)
    masks = (b"\1" + bytes(mask - 1) + bytes([5] * size)) * 2
    (_, dense_clocks), (_, masked_clocks) = decode(
        config, [(0, count, 0, dense), (0, count, 1, masks)]
    )
    assert dense_clocks == count * size + 1 + (size == 1)
    assert masked_clocks == len(masks) + 1 + (mask == 1)
