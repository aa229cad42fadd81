"""Sources, sinks and monitors of the cocotb benches, on wires that need no simulator."""

import itertools
import random

import pytest

from upshift_sim.bench.streams import (
    Monitor,
    Sink,
    Source,
    StreamError,
    StreamRule,
    no_pauses,
    random_pauses,
)


class Wire:
    def __init__(self, value=0):
        self.value = value


class Unknown:
    def __int__(self):
        raise ValueError

    def __str__(self):
        return "01X0"


class Dut:
    def __init__(self):
        self.s__payload, self.s__valid, self.s__ready = Wire(), Wire(), Wire()


@pytest.fixture
def dut():
    return Dut()


def test_monitor_reports_transfers(dut):
    seen = []
    monitor = Monitor(dut, "s", lambda payload, clock: seen.append((payload, clock)))
    for clock, (valid, ready) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1), (1, 1), (0, 1)]):
        dut.s__valid.value, dut.s__ready.value, dut.s__payload.value = valid, ready, 7
        monitor.sample(clock)
        assert monitor.transferred == bool(valid and ready)
    assert seen == [(7, 3), (7, 4)]
    assert monitor.transfers == 2


def test_monitor_sees_no_transfer_in_reset(dut):
    monitor = Monitor(dut, "s", lambda payload, clock: pytest.fail("transfer in reset"))
    dut.s__valid.value = dut.s__ready.value = 1
    dut.s__payload.value = Unknown()
    monitor.sample(0, reset=True)
    assert not monitor.transferred


@pytest.mark.parametrize("signal", ["s__payload", "s__valid", "s__ready"])
def test_unknown_bits_fail(dut, signal):
    monitor = Monitor(dut, "s", lambda payload, clock: None)
    dut.s__valid.value = dut.s__ready.value = 1
    getattr(dut, signal).value = Unknown()
    with pytest.raises(StreamError, match=f"{signal} is 01X0"):
        monitor.sample(0)


def test_an_unknown_payload_is_no_error_while_nothing_is_offered(dut):
    seen = []
    monitor = Monitor(dut, "s", lambda payload, clock: seen.append(payload))
    dut.s__payload.value = Unknown()
    monitor.sample(0)
    assert seen == []


def test_what_is_offered_stays_offered():
    rule = StreamRule("s")
    rule.check(True, False, 5)
    rule.check(True, True, 5)
    rule.check(False, False, None)
    rule.check(True, False, 6)
    with pytest.raises(StreamError, match="valid fell"):
        rule.check(False, False, None)


def test_the_payload_stays():
    rule = StreamRule("s")
    rule.check(True, False, 5)
    with pytest.raises(StreamError, match="changed from 0x5 to 0x6"):
        rule.check(True, True, 6)


def test_a_reset_takes_offers_back():
    rule = StreamRule("s")
    rule.check(True, False, 5)
    rule.reset()
    rule.check(False, False, None)


def test_a_source_and_a_sink_move_everything_in_order(dut):
    rng = random.Random(1)
    seen = []
    monitor = Monitor(dut, "s", lambda payload, clock: seen.append(payload))
    source = Source(monitor, random_pauses(rng), lambda: 99)
    sink = Sink(monitor, random_pauses(rng))
    source.queue.extend(range(50))
    for clock in itertools.count():
        monitor.sample(clock)  # checks the rule, too
        source.drive()
        sink.drive()
        if dut.s__valid.value == 0:
            assert dut.s__payload.value == 99
        if not source.queue:
            break
        assert clock < 10_000
    assert seen == [*range(50)]


def test_a_source_without_pauses_sends_one_payload_per_clock(dut):
    seen = []
    monitor = Monitor(dut, "s", lambda payload, clock: seen.append(clock))
    source, sink = Source(monitor, no_pauses(), lambda: 0), Sink(monitor, no_pauses())
    source.queue.extend(range(5))
    for clock in range(8):
        monitor.sample(clock)
        source.drive()
        sink.drive()
    assert seen == [1, 2, 3, 4, 5]


def test_a_cleared_source_offers_nothing(dut):
    monitor = Monitor(dut, "s", lambda payload, clock: None)
    source = Source(monitor, no_pauses(), lambda: 0)
    source.queue.append(1)
    source.drive()
    assert dut.s__valid.value == 1
    source.clear()
    source.drive()
    assert dut.s__valid.value == 0


def test_a_held_sink_is_never_ready(dut):
    sink = Sink(Monitor(dut, "s", lambda payload, clock: None), no_pauses())
    sink.held = True
    sink.drive()
    assert dut.s__ready.value == 0


def test_random_pauses_come_short_and_long():
    pauses = [*itertools.islice(random_pauses(random.Random(2)), 20_000)]
    runs = [(pause, len([*run])) for pause, run in itertools.groupby(pauses)]
    for pause in (False, True):
        lengths = {length for kind, length in runs if kind == pause}
        assert min(lengths) == 1
        assert max(lengths) > 16
