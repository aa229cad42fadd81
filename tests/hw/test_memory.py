"""The weight memory: latency, collisions, masks, and what a reset leaves."""

from types import SimpleNamespace

import pytest
from amaranth.hdl import Fragment, Module

from hw.dp16kd_model import Model
from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift_hw import dp16kd
from upshift_hw.memory import WeightMemory


class Port:
    """Reads and writes rows, one action of each port per clock."""

    def __init__(self, memory, context):
        self.memory, self.context = memory, context

    async def clock(self, *, read=None, write=None, words=(), mask=None, host=False):
        memory, context = self.memory, self.context
        lanes = memory.config.lanes
        everything = (1 << lanes) - 1
        context.set(memory.read_enable, read is not None or host)
        context.set(memory.read_row, (write if host else read) or 0)
        context.set(memory.host_write, host)
        mask = 0 if write is None else everything if mask is None else mask
        for side in ("host", "write"):
            own = (side == "host") == host
            context.set(getattr(memory, f"{side}_mask"), mask if own else 0)
            for lane, word in enumerate(words):
                port = getattr(memory, f"{side}_weights")[lane]
                context.set(port, int(word) if own else ~int(word))
        context.set(memory.write_row, 0 if host else write or 0)
        if host:
            context.set(memory.write_mask, 0)
        await context.tick()
        return [context.get(memory.read_weights[lane]) for lane in range(lanes)]


@pytest.fixture(params=["inferred", "dp16kd"])
def ram(request, monkeypatch):
    """Each body of the memory, with a model of the block where there is one."""
    monkeypatch.setattr(dp16kd, "Instance", Model)
    return request.param


@pytest.mark.parametrize(
    "config",
    [
        UnitConfig(lanes=1, depth=1, weight=Fixed(2, 0)),
        UnitConfig(lanes=4, depth=4, weight=Fixed(5, 2), pipeline=8),
        UnitConfig(lanes=2, depth=26, weight=Fixed(32, 32)),  # 13 rows
        UnitConfig(lanes=2, depth=2100, weight=Fixed(19, 3), pipeline=7),  # 9 bits per block
        UnitConfig(lanes=1, depth=3000, weight=Fixed(13, 3), pipeline=7),  # 4 bits per block
        UnitConfig(lanes=1, depth=4097, weight=Fixed(4, 3)),  # more than blocks are made for
        UnitConfig(lanes=8, depth=64),
    ],
    ids=lambda config: f"{config.lanes}-{config.depth}-{config.weight}",
)
def test_random_traffic_equals_an_array(run, rng, config, ram):
    """Reads and masked writes of the datapath in every clock, and now and then one of a host."""
    fmt = config.weight
    model = rng.integers(fmt.min, fmt.max + 1, config.depth).reshape(-1, config.lanes)
    memory = WeightMemory(config, init=model.reshape(-1), ram=ram)
    assert memory.latency == (2 if config.pipeline > 6 else 1)
    near = int(rng.integers(max(1, config.rows - 20)))

    async def testbench(context, reset):
        port = Port(memory, context)
        # What is shown from clock to clock: a weight in a lane that was written in the clock in
        # which it was read is None, and all of them are after a write of the host.
        nothing = [None] * config.lanes
        shown = [nothing] * memory.latency
        for _ in range(250):
            host = rng.random() < 0.1
            read, write = (
                min(near + int(rng.integers(20)), config.rows - 1) if rng.random() < 0.7 else None
                for _ in range(2)
            )
            if rng.random() < 0.1:
                read = int(rng.integers(config.rows))
            words = rng.integers(fmt.min, fmt.max + 1, config.lanes)
            mask = int(rng.integers(1 << config.lanes))
            lanes = [lane for lane in range(config.lanes) if mask >> lane & 1]
            comes = shown[-1]
            if host and write is not None:
                read, comes = None, nothing
            elif read is not None:
                comes = model[read].tolist()
                if read == write:
                    comes = [None if lane in lanes else word for lane, word in enumerate(comes)]
            host = host and write is not None
            seen = await port.clock(read=read, write=write, words=words, mask=mask, host=host)
            shown = [*shown[1:], comes]
            assert all(known in (None, word) for known, word in zip(shown[0], seen, strict=True))
            if write is not None:
                model[write, lanes] = words[lanes]
        for row in {*range(near, min(near + 20, config.rows)), 0, config.rows - 1}:
            for _ in range(memory.latency):
                seen = await port.clock(read=row)
            assert seen == model[row].tolist()

    run(memory, testbench)


def test_a_platform_with_such_blocks_gets_them(monkeypatch):
    placed = []
    monkeypatch.setattr(dp16kd, "Instance", lambda name, **options: placed.append(name) or Module())
    memory = WeightMemory(UnitConfig(lanes=4, depth=64))
    for device, blocks in (("LFE5U-25F", 4), ("iCE40HX8K", 0), (None, 0)):
        placed.clear()
        platform = device and SimpleNamespace(device=device)
        fragment = Fragment.get(memory, platform)
        fragment.prepare()
        assert placed == ["DP16KD"] * blocks


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
