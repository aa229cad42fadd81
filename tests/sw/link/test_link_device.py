"""What a board behind a line does beyond what every device does."""

import dataclasses
import random

import numpy as np
import pytest

from upshift import vectors
from upshift.config import UnitConfig
from upshift.device import DeviceError
from upshift.device.link import LinkDevice
from upshift.formats import Fixed, float32
from upshift.layout import Operation
from upshift.link import board as board_module
from upshift.link import frames
from upshift.link.board import BoardModel
from upshift.link.config import LinkConfig
from upshift.link.faults import ModelLine
from upshift.link.frames import Request
from upshift.link.framing import FrameReader
from upshift.link.transport import LineLost
from upshift.reference import Command, Unit, step
from upshift.vectors import Vector

CONFIG = UnitConfig(lanes=4, depth=4096)
LINK = LinkConfig(clock=12_000_000, baud=3_000_000, frame_bytes=256)
GOOD = {"rate": 1, "resolution": 9}


class Tapped(ModelLine):
    """Keeps the frames that the host sent."""

    def __init__(self, board):
        super().__init__(board)
        self.reader = FrameReader(LINK.frame_bytes)
        self.sent = []

    def exchange(self, data, timeout):
        accepted, received = super().exchange(data, timeout)
        self.sent += self.reader.feed(data[:accepted])
        return accepted, received

    def count(self, request):
        return sum(frame.kind == request for frame in self.sent)


@pytest.fixture
def line():
    return Tapped(BoardModel(CONFIG, LINK))


@pytest.fixture
def device(line):
    with LinkDevice(line, rng=random.Random(1)) as device:
        yield device


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        UnitConfig(lanes=1, weight=Fixed(32, 30), gradient=Fixed(32, 28), depth=7, max_rate=3),
        UnitConfig(lanes=32, weight=Fixed(9, 3), gradient=Fixed(2, 0), depth=64, max_rate=63),
    ],
)
def test_a_board_brings_its_configuration_and_replays_all_corners(seed, config):
    with LinkDevice(ModelLine(BoardModel(config, LINK))) as device:
        assert device.config == config
        assert device.identity["baud"] == LINK.baud
        played = vectors.standard(config, 100, seed)
        weights = vectors.initial_weights(config, seed)
        device.write(0, weights)
        final, reports = vectors.expect(config, weights, played)
        assert device.play(played) == reports
        assert device.read(0, config.depth).tolist() == final.tolist()


def test_float_gradients_keep_their_infinities(rng):
    config = dataclasses.replace(CONFIG, gradient=float32)
    words = rng.integers(0, 1 << 32, 1000)
    words[::3] = 0
    words[1::100] = 0x7F800000  # infinity
    with LinkDevice(ModelLine(BoardModel(config, LINK))) as device:
        report = device.update(7, words, **GOOD)
        weights, expected = step(np.zeros(1000, int), words, config=config, **GOOD)
        assert report == expected
        assert report.nonfinite > 0
        assert device.read(7, 1000).tolist() == weights.tolist()


def test_bursts_and_commands_that_cannot_be_played(device):
    longest = device.longest_burst
    good = vectors.update(0, [1] * longest, rate=0, resolution=4)
    assert device.play([good])[0]["elements"] == longest
    sent = device.statistics()["frames_sent"]
    for bad, message in (
        (
            vectors.update(0, [1] * (longest + 1), rate=0, resolution=4),
            f"a burst of {longest + 1} elements is not allowed: up to {longest}",
        ),
        (vectors.update(0, [1 << 15], rate=0, resolution=4), "raw word 32768"),
        (Vector(Command(Operation.RAISE, resolution=32), np.zeros(0, int)), "resolution 32 is"),
    ):
        with pytest.raises(ValueError, match=message):
            device.play([good, bad])
    assert device.statistics()["frames_sent"] == sent


def test_all_that_is_not_sent_is_zero_steps(device, line, rng):
    """A burst whose steps are mostly zero takes a few bits for each."""
    words = rng.integers(-100, 100, 4000)
    words[::100] = 1 << 14
    device.write(0, np.zeros(4096, int))
    device.read(0, 1)
    before = device.statistics()["bytes_sent"]
    report = device.update(0, words, rate=4, resolution=4)
    _, expected = step(np.zeros(4000, int), words, config=CONFIG, rate=4, resolution=4)
    assert report == expected
    assert device.statistics()["bytes_sent"] - before < 4000 / 3


def test_a_long_burst_is_nearly_all_payload(rng):
    link = dataclasses.replace(LINK, frame_bytes=2048)
    line = ModelLine(BoardModel(CONFIG, link))
    with LinkDevice(line) as device:
        device.read(0, 4096)
        before = device.statistics()["bytes_sent"]
        device.update(0, rng.integers(1 << 14, 1 << 15, 4096), **GOOD)
        assert 2 * 4096 / (device.statistics()["bytes_sent"] - before) > 0.97


def test_unknown_weights_are_read_once_before_they_are_updated(device, line):
    device.write(0, [1, 2, 3])
    device.update(0, [640] * 3, **GOOD)
    assert line.count(Request.READ) == 0
    device.update(2, [640] * 3, **GOOD)
    device.update(2, [640] * 3, **GOOD)
    assert line.count(Request.READ) == 1


def test_a_checksum_is_one_answer(device, line):
    device.write(0, np.arange(4096))
    expected = Unit(CONFIG)
    expected.weights[:] = np.arange(4096)
    sent = device.statistics()["bytes_received"]
    device.checksum(0, 4096)
    assert device.statistics()["bytes_received"] - sent < 4096
    assert line.count(Request.CHECKSUM) == 1
    assert line.count(Request.READ) == 0


def test_test_bytes(device, line):
    assert device.test(4, b"ab", repeats=3) == b"ab\2\3" * 3
    assert device.test(0, bytes(200), repeats=20) == b""
    assert device.test(10, repeats=50) == bytes(range(10)) * 50
    most = frames.max_payload(LINK.frame_bytes)
    assert len(device.test(most, bytes(most - 2), repeats=20)) == 20 * most
    for count, data in ((most + 1, b""), (0, bytes(most - 1)), (-1, b"")):
        with pytest.raises(ValueError, match=f"up to {most} for up to {most - 2}"):
            device.test(count, data)


def test_the_status_is_there_to_be_read(device):
    device.raise_floor(7)
    status = device.read_status()
    assert (status["next"], status["floor"], status["rejected"]) == (1, 7, 0)


def test_counters_of_the_board_go_round(device, line):
    device.update(0, [64] * 8, **GOOD)
    assert device.counters().beats == 2
    line.board._beats = (1 << 32) - 3
    device.counters()
    before = device.counters().beats
    device.update(0, [64] * 4096, **GOOD)
    assert device.counters().beats == before + 1024


def test_counters_go_on_after_a_power_loss(device, line):
    device.write(0, np.zeros(64, int))
    device.update(0, [64] * 64, **GOOD)
    assert device.counters().beats == 16
    line.board.power_cycle()
    device.update(0, [64] * 4, **GOOD)
    counters = device.counters()
    assert (counters.bursts, counters.elements, counters.beats) == (2, 68, 17)


def test_the_boards_counters_are_read_before_they_go_round(device, line, monkeypatch):
    monkeypatch.setattr("upshift.device.link._OFTEN", 1000)
    for _ in range(10):
        device.update(0, [64] * 300, **GOOD)
    assert line.count(Request.STATUS) == 2


@pytest.mark.parametrize("change", ["magic", "version", "digest_low"])
def test_a_board_of_another_kind_is_refused(line, monkeypatch, change):
    def changed(config, link):
        values = frames.identity(config, link)
        return values | {change: values[change] ^ 4}

    monkeypatch.setattr(board_module, "identity", changed)
    with pytest.raises(DeviceError, match=f"model line: {change}.* 0x.* is not"):
        LinkDevice(line)


def test_a_board_with_another_configuration_is_refused(line):
    message = r'the board is {"depth":4096,.*, but it has to be {"depth":4096,"gradient":"8.4"'
    with pytest.raises(DeviceError, match=message):
        LinkDevice(line, dataclasses.replace(CONFIG, gradient=Fixed(8, 4)))


def test_a_second_program_ends_the_first(line, device):
    device.write(0, [5])
    device.read(0, 1)
    with LinkDevice(line) as second:
        assert second.read(0, 1) == [5]
        with pytest.raises(DeviceError, match="another program has taken the board") as error:
            device.update(0, [640], **GOOD)
        for call in (lambda: device.read(0, 1), device.counters, device.read_status):
            with pytest.raises(DeviceError) as again:
                call()
            assert again.value is error.value
        assert second.read(0, 1) == [5]


def test_a_closed_board_says_so(device):
    device.close()
    for call in (device.read_status, lambda: device.test(1), lambda: device.play([])):
        with pytest.raises(DeviceError, match="the device is closed"):
            call()


class Swapped(ModelLine):
    """A cable that is pulled out and put into another board."""

    def __init__(self, board, other):
        super().__init__(board)
        self.other = other
        self.pulled = False

    def exchange(self, data, timeout):
        if self.pulled:
            self.pulled = False
            self.board = self.other
            raise LineLost("the line is gone")
        return super().exchange(data, timeout)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": Fixed(18, 14)}, "weight_fraction 14, not 16"),
        ({"gradient": Fixed(16, 10)}, "gradient_fraction 10, not 12"),
        ({"depth": 32}, "depth 32, not 4096"),
    ],
)
def test_another_board_on_the_same_cable_is_never_written(change, message):
    other = BoardModel(dataclasses.replace(CONFIG, **change), LINK)
    line = Swapped(BoardModel(CONFIG, LINK), other)
    device = LinkDevice(line, rng=random.Random(1))
    device.write(0, np.arange(64))
    line.pulled = True
    with pytest.raises(DeviceError, match=rf"another board is on the line: .*{message}"):
        device.update(0, np.full(64, 100), **GOOD)
    assert not other.unit.weights.any()


def test_the_same_kind_of_board_is_brought_to_where_the_first_was():
    other = BoardModel(CONFIG, LINK)
    line = Swapped(BoardModel(CONFIG, LINK), other)
    with LinkDevice(line, rng=random.Random(1)) as device:
        device.write(0, np.arange(64))
        line.pulled = True
        report = device.update(0, np.full(64, 100), **GOOD)
        weights, expected = step(np.arange(64), np.full(64, 100), config=CONFIG, **GOOD)
        assert report == expected
        assert device.read(0, 64).tolist() == weights.tolist()


def test_a_board_that_refuses_to_be_written_is_an_error(line, device):
    line.board.config = dataclasses.replace(CONFIG, depth=32)
    device.write(40, np.zeros(10, np.int64))  # sent at once, answered later
    with pytest.raises(DeviceError, match="the board refused WRITE of weights 40 to 49: range"):
        device.read(0, 1)


class Blocked(ModelLine):
    """A port that stops taking bytes."""

    blocked = False
    calls = 0

    def exchange(self, data, timeout):
        if not self.blocked:
            return super().exchange(data, timeout)
        self.calls += 1
        self._time += max(0.0, timeout)
        return 0, b""


def test_a_port_that_takes_no_bytes_is_given_up():
    line = Blocked(BoardModel(CONFIG, dataclasses.replace(LINK, frame_bytes=2048)))
    device = LinkDevice(line, timeout=2.0, rng=random.Random(1))
    device.write(0, np.zeros(4096, np.int64))
    device.read(0, 1)
    line.blocked = True
    with pytest.raises(DeviceError, match=r"has not answered .* 7 commands are applied, 2 more"):
        device.update(0, np.full(4096, 9999), **GOOD)
    assert line.calls < 100, "it waits, and does not spin"
    with pytest.raises(DeviceError, match="has not answered"):
        device.read(0, 1)
    device.close()


@pytest.mark.parametrize(
    "change",
    [
        {"gradient_kind": 1, "gradient_width": 8},
        {"gradient_kind": 7},
        {"baud": 0},
        {"frame_bytes": 20},
        {"window": 0},
        {"lanes": 3},
        {"digest_low": 3},
        {"version": 5},
    ],
)
def test_an_impossible_identity_is_refused(line, monkeypatch, change):
    monkeypatch.setattr(board_module, "identity", lambda c, k: frames.identity(c, k) | change)
    with pytest.raises(DeviceError, match=r"model line: .* is not|are not known"):
        LinkDevice(line)


def test_a_line_that_is_closed_each_time_says_so(line, monkeypatch):
    def gone(data, timeout):
        raise LineLost("the line is gone: closed by the other end")

    monkeypatch.setattr(line, "exchange", gone)
    with pytest.raises(DeviceError, match=r"closed each time .* closed by the other end\); does"):
        LinkDevice(line)
