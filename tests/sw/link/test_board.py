"""What a board answers to each kind of request, byte for byte."""

import numpy as np
import pytest

from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift.link import frames
from upshift.link.board import BoardModel
from upshift.link.cobs import DELIMITER
from upshift.link.config import LinkConfig
from upshift.link.frames import ANSWERS, ARGUMENTS, Answer, Encoding, Frame, Request, pack, unpack
from upshift.link.framing import FrameReader, to_line
from upshift.report import Refusal
from upshift.words import checksum

CONFIG = UnitConfig(lanes=4, depth=64, max_rate=20)
LINK = LinkConfig(clock=12_000_000, baud=3_000_000, frame_bytes=128)
SESSION = 0xC0FFEE01


class Host:
    """Sends requests one by one and unpacks the answers."""

    def __init__(self, config=CONFIG):
        self.board = BoardModel(config, LINK)
        self.session = 0
        self.reader = FrameReader(LINK.frame_bytes)

    def send(self, kind, sequence, payload=b"", *, session=None):
        """Return kind and payload of the answer, None if there is none."""
        session = self.session if session is None else session
        line = self.board.receive(to_line(Frame(kind, sequence, session, payload)))
        assert line.count(DELIMITER) == bool(line)
        for frame in self.reader.feed(line):
            assert frame.sequence == sequence
            assert frame.session == self.board.session
            fields = ANSWERS[Answer(frame.kind)]
            return Answer(frame.kind), unpack(fields, frame.payload) if fields else frame.payload
        return None

    def ask(self, request, sequence=0, data=b"", **values):
        return self.send(request, sequence, pack(ARGUMENTS[request], values) + data)

    def begin(self, session=SESSION):
        answer, values = self.ask(Request.BEGIN, session=session)
        assert answer == Answer.STATUS
        self.session = session
        return values

    def report(self, request, sequence, data=b"", **values):
        """Return the fields of a report that are not zero."""
        answer, report = self.ask(request, sequence, data, **values)
        assert answer == Answer.REPORT
        return {name: value for name, value in report.items() if value}

    def status(self):
        answer, values = self.ask(Request.STATUS, 77)
        assert answer == Answer.STATUS
        return values


@pytest.fixture
def host():
    return Host()


@pytest.fixture
def begun(host):
    host.begin()
    host.board.unit.weights[:] = np.arange(-32, 32)
    return host


def test_it_tells_what_it_is(host):
    assert host.ask(Request.IDENTIFY, 9) == (Answer.IDENTITY, frames.identity(CONFIG, LINK))
    assert host.send(Request.IDENTIFY, 9, session=5)[0] == Answer.IDENTITY


def test_a_new_board_has_no_session_and_executes_nothing(host):
    assert host.ask(Request.RAISE, 0, resolution=5)[0] == Answer.GAP
    status = host.status()
    assert (status["next"], status["floor"], status["frames"]) == (0, 0, 2)
    assert host.board.session == 0


def test_begin_needs_the_present_session(host):
    host.begin()
    host.ask(Request.RAISE, 0, resolution=5)
    for session, new in ((0, 3), (SESSION + 1, 3), (SESSION, 0)):
        payload = pack(ARGUMENTS[Request.BEGIN], {"session": new})
        answer, status = host.send(Request.BEGIN, 4, payload, session=session)
        assert answer == Answer.STATUS
        assert (status["next"], status["floor"], host.board.session) == (1, 5, SESSION)
    assert host.begin(3)["next"] == 0
    assert host.status()["floor"] == 0


def test_begin_keeps_weights_and_forgets_the_rest(begun):
    begun.ask(Request.RAISE, 0, resolution=5)
    assert begun.report(Request.RAISE, 1, resolution=4) == {"refusal": Refusal.FLOOR}
    begun.ask(Request.UPDATE, 2, bytes(8), base=1, count=4, resolution=9)
    status = begun.status()
    assert (status["floor"], status["refused"], status["beats"]) == (5, Refusal.FLOOR, 2)
    begun.begin(7)
    status = begun.status()
    assert [status[name] for name in ("floor", "refused", "beats", "clocks")] == [0] * 4
    assert begun.board.unit.weights.tolist() == list(range(-32, 32))
    assert begun.ask(Request.RECALL, command=2)[0] == Answer.STATUS, "reports are gone"
    assert begun.ask(Request.RAISE, 0xFFFF, resolution=1)[0] == Answer.GAP


def test_power_loss_forgets_everything(begun):
    begun.board.power_cycle()
    assert begun.board.session == begun.board.frames == 0
    assert not begun.board.unit.weights.any()


def test_writes_and_reads(begun):
    data = bytes.fromhex("010000 ffffff 000002 ffff01")
    assert begun.report(Request.WRITE, 0, data, base=61, count=3) == {"elements": 3}
    assert begun.board.unit.weights[60:].tolist() == [28, 1, -1, -(1 << 17)]
    assert begun.ask(Request.READ, base=60, count=4) == (
        Answer.WEIGHTS,
        bytes.fromhex("1c0000 010000 ffffff 0000fe"),
    )
    assert begun.report(Request.WRITE, 1, data, base=61, count=4) == {"refusal": Refusal.RANGE}
    assert begun.report(Request.WRITE, 2, data[:4], base=0, count=3) == {"elements": 3}
    assert begun.board.unit.weights[:4].tolist() == [1, 255, 0, -29], "zeros follow short data"


def test_checksums(begun):
    weights = begun.board.unit.weights
    for base, count in ((0, 64), (5, 1), (64, 0)):
        expected = {"checksum": checksum(weights[base : base + count], 18)}
        assert begun.ask(Request.CHECKSUM, base=base, count=count) == (Answer.CHECKSUM, expected)


@pytest.mark.parametrize(
    ("request_", "values"),
    [
        (Request.READ, {"base": 60, "count": 5}),
        (Request.READ, {"base": 0xFFFFFFFF, "count": 2}),
        (Request.READ, {"base": 0, "count": 39}),
        (Request.CHECKSUM, {"base": 0, "count": 65}),
        (Request.CHECKSUM, {"base": 0xFFFFFFFF, "count": 0xFFFFFFFF}),
        (Request.TEST, {"count": 116}),
        (Request.RECALL, {"command": 0}),
        (Request.RECALL, {"command": 0xFFFF}),
    ],
)
def test_what_cannot_be_served_is_answered_by_the_status(begun, request_, values):
    assert begun.ask(request_, 3, **values)[0] == Answer.STATUS


def test_unknown_kinds_and_short_payloads_do_nothing(begun):
    for kind in {*range(256)} - {*Request}:
        assert begun.send(kind, 0)[0] == Answer.STATUS
    for request, fields in ARGUMENTS.items():
        if fields:
            short = bytes(frames.byte_width(fields) - 1)
            assert begun.send(request, 0, short)[0] == Answer.STATUS
    assert begun.board.next == 0


def test_test_bytes_are_sent_back_and_made_up(begun):
    for data, count, expected in (
        (b"", 5, bytes(range(5))),
        (b"abc", 2, b"ab"),
        (b"abc", 6, b"abc\3\4\5"),
        (bytes(113), 0, b""),
        (bytes(100), 115, bytes(100) + bytes(range(100, 115))),
    ):
        assert begun.ask(Request.TEST, 8, data, count=count) == (Answer.TEST, expected)


def test_updates_dense_and_masked(begun):
    control = {"base": 3, "count": 4, "rate": 1, "resolution": 9}
    words = np.array([640, 0, -640, 0], "<i2")
    expected = {"elements": 4, "nonzero": 2, "needed_valid": 1, "needed": 3}
    assert begun.report(Request.UPDATE, 0, words.tobytes(), **control) == expected
    # Lane 3 of one beat, lane 1 of the next; lane 0 of the first lies outside.
    masked = b"\x09\x55\x55" + words[:1].tobytes() + b"\x02" + words[2:3].tobytes()
    control["encoding"] = Encoding.MASKED
    assert begun.report(Request.UPDATE, 1, masked, **control) == expected
    step = 640 << 3
    assert begun.board.unit.weights[2:8].tolist() == [
        -30,
        -29 - 2 * step,
        -28,
        -27 + 2 * step,
        -26,
        -25,
    ]
    assert begun.status()["beats"] == 4


def test_a_negative_needed_resolution_keeps_its_sign(begun):
    words = np.array([-(1 << 15)], "<i2").tobytes()
    report = begun.report(Request.UPDATE, 0, words, base=0, count=1, resolution=0)
    assert report["needed"] == -3


@pytest.mark.parametrize(
    ("values", "refusal", "beats"),
    [
        ({"count": 0}, Refusal.COUNT, 0),
        ({"base": 64}, Refusal.RANGE, 1),
        ({"base": 63, "count": 2}, Refusal.RANGE, 2),
        ({"rate": 21, "resolution": 17}, Refusal.RATE | Refusal.FRACTION, 1),
        ({"base": 128, "count": 0}, Refusal.RANGE, 0),
        ({"count": 128, "rate": 21}, Refusal.RANGE, 0),
        ({"rate": 32, "resolution": 32, "count": 0}, Refusal.RATE | Refusal.FRACTION, 0),
    ],
)
def test_refusals_of_unit_and_link(begun, values, refusal, beats):
    values = {"base": 0, "count": 1, "resolution": 9} | values
    assert begun.report(Request.UPDATE, 0, **values) == {"refusal": refusal}
    status = begun.status()
    assert (status["next"], status["refused"], status["beats"]) == (1, refusal, beats)
    assert begun.board.unit.weights.tolist() == list(range(-32, 32))


def test_raises(begun):
    assert begun.report(Request.RAISE, 0, resolution=16) == {}
    assert begun.report(Request.RAISE, 1, resolution=17) == {"refusal": Refusal.FRACTION}
    assert begun.report(Request.RAISE, 2, resolution=255) == {"refusal": Refusal.FRACTION}
    assert begun.status()["floor"] == 16


def test_repeated_commands_are_answered_and_not_executed(begun):
    words = np.array([640], "<i2").tobytes()
    update = {"data": words, "base": 5, "count": 1, "resolution": 9}
    first = begun.report(Request.UPDATE, 0, **update)
    for sequence in range(1, 16):
        begun.report(Request.WRITE, sequence, b"\1", base=9, count=1)
    weights = begun.board.unit.weights.copy()
    assert begun.report(Request.UPDATE, 0, **update) == first
    assert begun.report(Request.RAISE, 15, resolution=3) == {"elements": 1}, "by number alone"
    _, recalled = begun.ask(Request.RECALL, 4, command=0)
    assert recalled["nonzero"] == 1
    begun.report(Request.WRITE, 16, base=9, count=0)
    assert begun.ask(Request.UPDATE, 0, **update)[0] == Answer.GAP
    assert begun.ask(Request.RECALL, command=0)[0] == Answer.STATUS
    assert begun.board.unit.weights.tolist() == weights.tolist()
    assert begun.status()["repeated"] == 2


def test_a_gap_is_told_once(begun):
    def ahead():
        return begun.ask(Request.RAISE, 5, resolution=1)

    answer, status = ahead()
    assert (answer, status["next"]) == (Answer.GAP, 0)
    assert ahead() is None
    assert begun.send(Request.RAISE, 0, b"\1", session=9) is None
    begun.status()
    assert ahead()[0] == Answer.GAP
    begun.ask(Request.BEGIN, session=0)
    assert ahead()[0] == Answer.GAP
    begun.report(Request.RAISE, 0, resolution=1)
    assert ahead()[1]["next"] == 1
    begun.ask(Request.RECALL, command=0)
    begun.report(Request.RAISE, 0, resolution=1)
    assert ahead() is None, "neither queries nor repeated commands make it tell again"


def test_numbers_go_round(begun):
    begun.board.next = 0xFFFF
    begun.report(Request.RAISE, 0xFFFF, resolution=1)
    begun.report(Request.RAISE, 0, resolution=2)
    assert begun.report(Request.RAISE, 0xFFFF, resolution=1) == {}
    assert begun.status()["repeated"] == 1


def test_bits_beyond_a_word_are_ignored():
    host = Host(UnitConfig(lanes=2, weight=Fixed(12, 8), gradient=Fixed(5, 2), depth=16))
    host.begin()
    host.report(Request.WRITE, 0, b"\xff\xf7", base=0, count=1)
    assert host.board.unit.weights[0] == 0x7FF
    host.report(Request.UPDATE, 1, b"\xe1", base=1, count=1, resolution=8)
    assert host.board.unit.weights[1] == -(1 << 6)


def test_noise_is_counted_and_answered_by_nothing(begun, rng):
    weights = begun.board.unit.weights.copy()
    rejected = 0
    for _ in range(300):
        noise = rng.bytes(int(rng.integers(1, 300)))
        assert begun.board.receive(noise + DELIMITER) == b""
        rejected += sum(bool(part) for part in noise.split(DELIMITER))
    status = begun.status()
    assert (status["rejected"], status["frames"]) == (rejected, 2)
    assert begun.board.unit.weights.tolist() == weights.tolist()
