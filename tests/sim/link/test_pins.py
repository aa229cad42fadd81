"""The compiled board answers through its pins, byte for byte, what the model of a board answers."""

import numpy as np
import pytest

from sim.test_devices import CONFIG, WIDE
from upshift import vectors
from upshift.link import cobs
from upshift.link.board import BoardModel
from upshift.link.config import LinkConfig
from upshift.link.frames import (
    ANSWERS,
    ARGUMENTS,
    COMMANDS,
    Answer,
    Frame,
    Request,
    max_payload,
    pack,
    unpack,
)
from upshift.link.framing import to_line
from upshift_sim.board import VirtualBoard
from upshift_sim.faults import LINK

CLOCKED = {"clocks", "stalls", "waits"}
"""Counters that a model without a clock cannot know."""


@pytest.fixture
def board(cache):
    board = VirtualBoard(CONFIG, LINK)
    yield board
    board.close()


# -- requests -----------------------------------------------------------------------------------


def values(rng, config, field):
    """Return a value for a field: mostly one that the unit takes, often an edge."""
    top = (1 << field.width) - 1
    usual = {
        "base": config.depth,
        "count": 24,
        "rate": config.max_rate + 1,
        "resolution": config.max_resolution + 1,
        "encoding": 2,
        "command": 1 << 16,
        "session": 1 << 32,
    }[field.name]
    if rng.random() < 0.9:
        return int(rng.integers(usual))
    edges = [0, usual - 1, usual, usual + 1, config.depth, top - 1, top]
    return min(int(rng.choice(edges)), top)


def request(rng, model):
    """Return one request, stuffed: most of them good, some senseless, some damaged."""
    kind = int(rng.choice([*Request, *COMMANDS, *COMMANDS, Request.UPDATE, 0x00, 0x7F, 0x85]))
    payload = b""
    if kind in ARGUMENTS:
        fields = ARGUMENTS[Request(kind)]
        payload = pack(fields, {field.name: values(rng, model.config, field) for field in fields})
        if kind == Request.RECALL and rng.random() < 0.8:
            payload = ((model.next - int(rng.integers(1, 18))) % 65536).to_bytes(2, "little")
    if kind in (Request.WRITE, Request.UPDATE, Request.TEST):
        room = max_payload(model.link.frame_bytes) - len(payload)
        data = rng.integers(256, size=rng.integers(room + 1), dtype=np.uint8)
        data[rng.random(data.size) < rng.choice([0.0, 0.5, 1.0])] = 0
        payload += data.tobytes()
    if rng.random() < 0.05:
        payload = payload[: rng.integers(len(payload) + 1)]
    session = model.session if rng.random() < 0.93 else int(rng.integers(1 << 32))
    sequence = model.next
    if rng.random() < 0.2:
        sequence = (model.next + int(rng.integers(-20, 20))) % 65536
    line = to_line(Frame(kind, sequence, session, payload))
    return damaged(rng, line[:-1]) + cobs.DELIMITER


def damaged(rng, stuffed):
    if rng.random() < 0.9:
        return stuffed
    some = bytearray(stuffed)
    at = int(rng.integers(len(some)))
    match int(rng.integers(5)):
        case 0:
            some[at] ^= 1 << int(rng.integers(8))
        case 1:
            del some[at:]
        case 2:
            some[at:at] = rng.bytes(int(rng.integers(1, 400)))
        case 3:
            some += cobs.DELIMITER + some
        case 4:
            some = bytearray(rng.bytes(at))
    return bytes(some)


def frames(stream):
    """Return what all answers in a stream say, without what only a clock can tell."""
    *stuffed, rest = stream.split(cobs.DELIMITER)
    assert rest == b""
    said = []
    for frame in (Frame.from_bytes(cobs.decode(part)) for part in stuffed):
        payload = frame.payload
        if frame.kind in (Answer.STATUS, Answer.GAP):
            status = unpack(ANSWERS[Answer.STATUS], payload)
            payload = {name: n for name, n in status.items() if name not in CLOCKED}
        said.append((frame.kind, frame.sequence, frame.session, payload))
    return said


def compare(rng, board, count):
    """Send groups of requests, which the board can buffer, and compare all answers."""
    model = BoardModel(board.config, board.link)
    begin = Frame(Request.BEGIN, 0, 0, (7).to_bytes(4, "little"))
    group, sent = to_line(begin), 0
    expected = model.receive(group)
    while sent < count:
        one = request(rng, model)
        if len(group) + len(one) > board.link.frame_bytes:
            assert frames(board.answer(group)) == frames(expected)
            group, expected = b"", b""
        group += one
        expected += model.receive(one)
        sent += 1
    assert frames(board.answer(group)) == frames(expected)
    assert held(board) == model.unit.weights.tolist()
    return model


def held(board):
    """Return all weights that the board holds."""
    size, width = 16, board.config.weight.width
    weights = []
    for base in range(0, board.config.depth, size):
        arguments = pack(ARGUMENTS[Request.READ], {"base": base, "count": size})
        question = to_line(Frame(Request.READ, 0, 0, arguments))
        answer = board.answer(cobs.DELIMITER + question).split(cobs.DELIMITER)[-2]
        weights += words_in(Frame.from_bytes(cobs.decode(answer)).payload, width)
    return weights


def words_in(payload, width):
    size = -(-width // 8)
    return [
        int.from_bytes(payload[n : n + size], "little", signed=True)
        for n in range(0, len(payload), size)
    ]


# -- gateware and model -------------------------------------------------------------------------


def test_random_requests_are_answered_as_by_the_model(board, rng):
    model = compare(rng, board, 2000)
    assert min(model.frames, model.rejected, model.repeated) > 20


@pytest.mark.parametrize("rate_error", [-0.02, 0.02])
def test_a_host_with_another_rate_is_understood(cache, rng, rate_error):
    board = VirtualBoard(CONFIG, LINK, rate_error=rate_error)
    compare(rng, board, 300)
    assert board.counters().bad == 0
    board.close()


def test_a_wide_unit_with_a_crooked_divider(cache, rng):
    board = VirtualBoard(WIDE, LinkConfig(clock=4_700_000, baud=1_000_000, frame_bytes=256))
    compare(rng, board, 600)
    board.close()


# -- noise --------------------------------------------------------------------------------------


def loaded(board, seed):
    """Give the board random weights and return what it says of itself."""
    model = BoardModel(board.config, board.link)
    weights = vectors.initial_weights(board.config, seed)
    begin = Frame(Request.BEGIN, 0, 0, (7).to_bytes(4, "little"))
    requests = [begin]
    for n in range(0, weights.size, 16):
        fields = pack(ARGUMENTS[Request.WRITE], {"base": n, "count": 16})
        words = b"".join(int(w).to_bytes(3, "little", signed=True) for w in weights[n : n + 16])
        requests.append(Frame(Request.WRITE, n // 16, 7, fields + words))
    for one in requests:
        data = to_line(one)
        assert frames(board.answer(data)) == frames(model.receive(data))
    return weights.tolist()


def unharmed(board, weights):
    """Return whether the board still answers, and holds what it held."""
    status = board.status()
    assert (status["next"], status["floor"], status["refused"]) == (len(weights) // 16, 0, 0)
    return held(board) == weights


def test_random_bytes_change_nothing_and_never_stop_the_board(board, rng, seed):
    weights = loaded(board, seed)
    for zeros in (0.001, 0.02, 0.3):
        noise = rng.integers(1, 256, size=30_000, dtype=np.uint8)
        noise[rng.random(noise.size) < zeros] = 0
        board.answer(noise.tobytes())
        assert unharmed(board, weights)


@pytest.mark.parametrize("longest", [1, 3, 12, 100, 1000])
def test_noise_glitches_and_breaks_on_the_pin_change_nothing(board, rng, seed, longest):
    weights = loaded(board, seed)
    lengths = rng.integers(1, longest + 1, size=min(40_000, 1_000_000 // longest))
    levels = np.repeat(np.arange(lengths.size) % 2 == 0, lengths)
    quiet = np.ones(100)  # or the request to come would be part of the noise
    board.play(np.concatenate([levels, quiet]).astype(np.uint8))
    assert unharmed(board, weights)


def test_the_weights_go_with_the_power(board, seed):
    weights = loaded(board, seed)
    before = board.counters()
    board.power_cycle()
    assert held(board) == [0] * len(weights)
    assert board.counters().clocks > before.clocks, "counters go on"


def test_a_board_at_rest_takes_no_clocks(board):
    board.status()
    assert board.run(1_000_000) == 0
    board.feed(b"x")
    assert 0 < board.run(1_000_000) < 1000
