"""Tallies: exact, whatever comes between beats, and complete after their latency."""

import pytest

from upshift_hw.tally import Tally


@pytest.mark.parametrize(
    ("lanes", "width"), [(1, 1), (1, 9), (2, 2), (4, 3), (8, 13), (16, 6), (32, 10)]
)
def test_bursts_of_any_length_are_counted(run, rng, lanes, width):
    tally = Tally(lanes, width)
    assert tally.latency == Tally.latency_of(lanes, width)

    async def testbench(context, reset):
        due, total = [], 0  # the clocks in which a count is complete
        starts, complete = True, 0
        everything = (1 << lanes) - 1
        for clock in range(1500):
            while due and due[0][0] == clock:
                assert context.get(tally.count) == due.pop(0)[1]
                complete += 1
            word = int(rng.integers(1 << lanes)) if rng.random() < 0.5 else everything
            valid = rng.random() < 0.9
            if valid:
                starts = starts or total + word.bit_count() >= 1 << width
                total = word.bit_count() + (0 if starts else total)
                due.append((clock + tally.latency, total))
            context.set(tally.valid, valid)
            context.set(tally.first, valid and starts)
            context.set(tally.bits, word)
            if valid:
                starts = rng.random() < 0.04
            await context.tick()
        assert complete > 1000

    run(tally, testbench)


@pytest.mark.parametrize("lanes", [1, 2, 4, 8])
def test_every_beat_is_counted(run, lanes):
    tally = Tally(lanes, lanes.bit_length())

    async def testbench(context, reset):
        context.set(tally.valid, 1)
        context.set(tally.first, 1)
        for word in range((1 << lanes) + tally.latency):
            if word >= tally.latency:
                assert context.get(tally.count) == (word - tally.latency).bit_count()
            context.set(tally.bits, word)
            await context.tick()

    run(tally, testbench)
