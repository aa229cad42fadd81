"""The serial line: rates that are off, jitter, glitches, breaks and noise."""

import random

import pytest

from upshift.link.config import PERIOD_STEPS, LinkConfig
from upshift_hw.link.uart import UartReceiver, UartTransmitter

BAUD = 1_000_000
CLOCKS = (4.0, 4.375, 5.5, 8.0, 16.0, 41.125)  # per bit
every_rate = pytest.mark.parametrize("clocks", CLOCKS)


def link(clocks):
    config = LinkConfig(clock=round(clocks * BAUD), baud=BAUD)
    assert config.period == clocks * PERIOD_STEPS
    return config


def levels(data, bit, *, start=0.0, gaps=None, jitter=0.0, rng=None):
    """Return the level of the line in each clock; every edge is moved by up to `jitter` bits."""
    edges, time, level = [], start, 1
    for n, byte in enumerate(data):
        for value in (0, *((byte >> k) & 1 for k in range(8)), 1):
            if value != level:
                edges.append(time + (rng.uniform(-jitter, jitter) * bit if jitter else 0))
                level = value
            time += bit
        time += bit * (gaps[n] if gaps else 0)
    line, level = [], 1
    for clock in range(int(time + 2 * bit)):
        while edges and edges[0] <= clock:
            edges.pop(0)
            level ^= 1
        line.append(level)
    return line


@pytest.fixture
def receive(run):
    """Function that puts levels on a receiver's line and returns its bytes and errors."""

    def receive(clocks, line):
        dut = UartReceiver(link(clocks))
        got, errors = [], []

        async def testbench(context, reset):
            for clock, level in enumerate([*line, *[1] * int(12 * clocks + 8)]):
                context.set(dut.rx, level)
                if context.get(dut.o.valid):
                    got.append(context.get(dut.o.payload))
                if context.get(dut.error):
                    errors.append(clock)
                await context.tick()
            assert not context.get(dut.busy)

        run(dut, testbench)
        return got, errors

    return receive


@every_rate
@pytest.mark.parametrize("off", [-0.02, 0, 0.02])
def test_bytes_from_senders_that_are_off_are_received(receive, seed, clocks, off):
    rng = random.Random(seed)
    data = [0x00, 0xFF, 0x55, 0xAA, *(rng.randrange(256) for _ in range(12))]
    line = levels(data, clocks * (1 + off), start=rng.uniform(3, 5))
    assert receive(clocks, line) == (data, [])


@every_rate
def test_a_sender_that_is_far_off_is_not_understood(receive, clocks):
    data = [0xFF] * 3 + [0x00] * 3
    assert receive(clocks, levels(data, clocks * 1.12, start=5))[0] != data


@pytest.mark.parametrize("clocks", [8.0, 16.0])
def test_edges_may_jitter(receive, seed, clocks):
    rng = random.Random(seed)
    data = [rng.randrange(256) for _ in range(30)]
    gaps = [rng.choice((0, 0.3, 3)) for _ in data]
    line = levels(data, clocks * 1.01, start=20, gaps=gaps, jitter=0.12, rng=rng)
    assert receive(clocks, line) == (data, [])


def test_glitches_shorter_than_a_quarter_of_a_bit_are_ignored(receive, seed):
    rng = random.Random(seed)
    data = [rng.randrange(256) for _ in range(20)]
    line = levels(data, 16, start=50, gaps=[2] * len(data))
    for n in range(len(data)):
        place = 50 + n * 12 * 16 + rng.randrange(2, 9 * 16 - 5)
        for clock in range(place, place + 3):
            line[clock] ^= 1
    line[10:14] = [0] * 4  # while the line is idle
    assert receive(16.0, line) == (data, [])


@every_rate
def test_a_break_is_one_error_and_does_not_disturb_what_follows(receive, clocks):
    line = [1] * 20 + [0] * int(35 * clocks) + [1] * int(2 * clocks)
    line += levels([0xC3], clocks)
    got, errors = receive(clocks, line)
    assert (got, len(errors)) == ([0xC3], 1)


def test_a_byte_with_a_low_stop_bit_is_dropped(receive):
    line = levels([0x12, 0x34, 0x56], 16.0, start=10, gaps=[0, 2, 0])
    stop = 10 + 19 * 16
    line[stop : stop + 16] = [0] * 16
    got, errors = receive(16.0, line)
    assert (got, len(errors)) == ([0x12, 0x56], 1)


@every_rate
def test_noise_ends_when_it_ends(receive, seed, clocks):
    rng = random.Random(seed)
    noise = [rng.randrange(2) for _ in range(600)] + [1] * int(11 * clocks)
    got, _ = receive(clocks, noise + levels([0x5A, 0xA5], clocks))
    assert got[-2:] == [0x5A, 0xA5]


@every_rate
def test_bytes_are_sent_without_a_gap_and_at_the_right_rate(run, seed, clocks):
    rng = random.Random(seed)
    data = [rng.randrange(256) for _ in range(12)]
    dut = UartTransmitter(link(clocks))
    line = []

    async def testbench(context, reset):
        waiting = list(data)
        while waiting or context.get(dut.busy):
            context.set(dut.i.valid, bool(waiting))
            context.set(dut.i.payload, waiting[0] if waiting else 0)
            if waiting and context.get(dut.i.ready):
                waiting.pop(0)
            await context.tick()
            line.append(context.get(dut.tx))

    run(dut, testbench)
    floor = -1 + 1 / PERIOD_STEPS  # edges are rounded down
    assert line == levels(data, clocks, start=floor)[: len(line)]
    assert len(line) == pytest.approx(10 * len(data) * clocks, abs=1)
