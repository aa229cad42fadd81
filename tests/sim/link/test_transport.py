"""Time on the line to a virtual board: it is the board's, and passes at once while that rests."""

import pytest

from upshift.link.cobs import DELIMITER
from upshift.link.frames import Answer, Frame, Request
from upshift.link.framing import FrameReader, to_line
from upshift_sim import faults
from upshift_sim.board import BoardTransport, VirtualBoard

REQUEST = to_line(Frame(Request.STATUS, 7, 0, b""))


@pytest.fixture
def line(cache):
    line = BoardTransport(VirtualBoard(faults.CONFIG, faults.LINK), "virtual:test")
    yield line
    line.close()


def test_a_time_out_passes_at_once_while_the_board_rests(line):
    before = line.now()
    assert line.exchange(b"", 1000.0) == (0, b"")
    line.reopen(0.5)
    assert line.now() - before == pytest.approx(1000.5)
    assert line.board.counters().clocks < 1000


def test_an_answer_takes_the_time_of_its_bits(line):
    assert line.exchange(REQUEST, 0.0) == (len(REQUEST), b"")
    before = line.now()
    _, answer = line.exchange(b"", 1.0)
    (frame,) = FrameReader(128).feed(answer)
    assert (frame.kind, frame.sequence) == (Answer.STATUS, 7)
    bits = 10 * (len(REQUEST) + len(answer))
    assert bits <= (line.now() - before) * faults.LINK.baud <= bits + 40
    counters = line.board.counters()
    assert (counters.sent, counters.received) == (len(REQUEST), len(answer))
    assert counters.sending == 10 * len(REQUEST) * faults.LINK.clock // faults.LINK.baud


def test_a_port_takes_some_and_then_waits_for_the_line(line):
    data = DELIMITER * 10_000
    accepted, _ = line.exchange(data, 0.0)
    assert 1000 < accepted < len(data)
    before = line.now()
    assert line.exchange(data[accepted:], 0.0) == (0, b"")
    assert line.now() == before
    assert line.exchange(data[accepted:], 10.0) == (0, b""), "now there is room"
    assert 0 < line.now() - before < accepted * 10 / faults.LINK.baud
    assert line.exchange(data[accepted:], 10.0)[0] > 1000
