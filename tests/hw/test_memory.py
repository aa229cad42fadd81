"""The weight memory: latency, collisions, masks, and what a reset leaves."""

import numpy as np
import pytest

from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift_hw.memory import WeightMemory


class Port:
    """Reads and writes rows, one action per clock."""

    def __init__(self, memory, context):
        self.memory, self.context = memory, context

    async def clock(self, *, read=None, write=None, words=(), mask=None):
        memory, context = self.memory, self.context
        context.set(memory.read_enable, read is not None)
        context.set(memory.read_row, read or 0)
        lanes = memory.config.lanes
        context.set(memory.write_row, write or 0)
        everything = (1 << lanes) - 1
        context.set(memory.write_mask, 0 if write is None else everything if mask is None else mask)
        for lane, word in enumerate(words):
            context.set(memory.write_weights[lane], int(word))
        await context.tick()
        return [context.get(memory.read_weights[lane]) for lane in range(lanes)]


@pytest.mark.parametrize(
    "config",
    [
        UnitConfig(lanes=1, depth=1, weight=Fixed(2, 0)),
        UnitConfig(lanes=4, depth=4, weight=Fixed(5, 2)),
        UnitConfig(lanes=2, depth=26, weight=Fixed(32, 32)),  # 13 rows
        UnitConfig(lanes=8, depth=64),
    ],
    ids=lambda config: f"{config.lanes}-{config.depth}-{config.weight}",
)
def test_random_traffic_equals_an_array(run, rng, config):
    """One read and one masked write every clock; a collision reads the old weight."""
    fmt = config.weight
    memory = WeightMemory(config)
    model = np.zeros((config.rows, config.lanes), np.int64)

    async def testbench(context, reset):
        port = Port(memory, context)
        for row in range(config.rows):
            await port.clock(write=row, words=model[row])
        shown = None
        for _ in range(400):
            read = int(rng.integers(config.rows)) if rng.random() < 0.7 else None
            write = int(rng.integers(config.rows)) if rng.random() < 0.7 else None
            if rng.random() < 0.3:
                write = read
            words = rng.integers(fmt.min, fmt.max + 1, config.lanes)
            mask = int(rng.integers(1 << config.lanes))
            if read is not None:
                shown = model[read].tolist()
            seen = await port.clock(read=read, write=write, words=words, mask=mask)
            assert shown is None or seen == shown
            if write is not None:
                lanes = [lane for lane in range(config.lanes) if mask >> lane & 1]
                model[write, lanes] = words[lanes]

    run(memory, testbench)


def test_contents_survive_reset(run):
    config = UnitConfig(lanes=2, depth=8)
    memory = WeightMemory(config)

    async def testbench(context, reset):
        port = Port(memory, context)
        for row in range(4):
            await port.clock(write=row, words=[row, -row])
        context.set(reset, 1)
        await port.clock()
        context.set(reset, 0)
        for row in range(4):
            assert await port.clock(read=row) == [row, -row]

    run(memory, testbench)
