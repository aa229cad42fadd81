"""A cut stream carries the same payloads in the same order, one per clock."""

import random

import pytest

from upshift_hw.cut import StreamCut


@pytest.mark.parametrize(("offered", "taken"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.5), (0.6, 0.6)])
def test_payloads_pass_in_order(run, seed, offered, taken):
    dut = StreamCut(8)
    rng = random.Random(seed)
    sent = [rng.randrange(256) for _ in range(200)]
    got, clocks = [], 0

    async def testbench(context, reset):
        nonlocal clocks
        queue = list(sent)
        valid = False
        while len(got) < len(sent):
            valid = bool(queue) and (valid or rng.random() < offered)  # an offer is kept
            context.set(dut.i.valid, valid)
            context.set(dut.i.payload, queue[0] if valid else 0)
            before = context.get(dut.i.ready)
            context.set(dut.o.ready, rng.random() < taken)
            assert context.get(dut.i.ready) == before  # no path leads through
            if context.get(dut.o.valid) and context.get(dut.o.ready):
                got.append(context.get(dut.o.payload))
            if valid and context.get(dut.i.ready):
                queue.pop(0)
                valid = False
            await context.tick()
            clocks += 1

    run(dut, testbench)
    assert got == sent
    if (offered, taken) == (1.0, 1.0):
        assert clocks == len(sent) + 1
