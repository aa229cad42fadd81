"""The driver's half of the link, frame by frame."""

import dataclasses
import itertools

import numpy as np
import pytest

from upshift.config import UnitConfig
from upshift.device import DeviceError
from upshift.link import frames
from upshift.link.board import BoardModel
from upshift.link.config import LinkConfig
from upshift.link.frames import ARGUMENTS, WINDOW, Answer, Frame, Request, pack
from upshift.link.framing import FrameReader, to_line
from upshift.link.mirror import Mirror, writes
from upshift.link.requests import Command, Query
from upshift.link.session import Session

CONFIG = UnitConfig(lanes=4, depth=64)
LINK = LinkConfig(clock=12_000_000, baud=3_000_000, frame_bytes=128)
SESSION = 100  # number of the first
OLD_BEGIN = pack(ARGUMENTS[Request.BEGIN], {"session": SESSION})


class Bench:
    """A session and a board with a clock that is turned by hand."""

    def __init__(self):
        self.board = BoardModel(CONFIG, LINK)
        self.mirror = Mirror(CONFIG)
        self.now = 0.0
        numbers = itertools.count(SESSION - 1)  # the first is that of a tag
        self.session = Session(
            self.mirror,
            frames.identity(CONFIG, LINK),
            found=0,
            draw=lambda: next(numbers),
            now=0.0,
            timeout=5.0,
        )

    def sent(self):
        """Return the frames that the session sends now."""
        self.session.tick(self.now)
        line = b"".join(iter(lambda: self.session.transmit(self.now), b""))
        return list(FrameReader(LINK.frame_bytes).feed(line))

    def answers(self, requests):
        line = b"".join(self.board.receive(to_line(request)) for request in requests)
        return list(FrameReader(LINK.frame_bytes).feed(line))

    def deliver(self, answers):
        self.session.receive(b"".join(to_line(answer) for answer in answers), self.now)

    def until(self, kind):
        """Answer all that is sent before a request of that kind, and return that."""
        while kinds(requests := self.sent()) != [kind]:
            assert requests, f"no {kind} comes"
            self.deliver(self.answers(requests))
        return requests

    def settle(self, *passing):
        """Go on until nothing is left to do; some kinds of requests pass, or all."""
        while self.session.busy:
            requests = self.sent()
            if not requests:
                self.now = self.session.deadline
            passed = [frame for frame in requests if not passing or frame.kind in passing]
            self.deliver(self.answers(passed))

    def write(self, address, word):
        (parts,) = writes(CONFIG, address, np.array([word]), 100)
        command = Command(*parts)
        self.session.submit(command, self.now)
        return command

    def ask(self):
        query = Query(Request.READ, pack(ARGUMENTS[Request.READ], {"base": 0, "count": 3}), 9)
        self.session.submit(query, self.now)
        return query


@pytest.fixture
def bench():
    bench = Bench()
    bench.settle()
    assert bench.board.session == SESSION
    return bench


def kinds(found):
    return [Request(frame.kind).name for frame in found]


def test_nothing_is_sent_before_the_session_has_begun():
    bench = Bench()
    bench.write(0, 5)
    first = bench.sent()
    assert kinds(first) == ["BEGIN"]
    bench.now = bench.session.deadline
    assert kinds(bench.sent()) == ["BEGIN"], "again, as there was no answer"
    bench.deliver(bench.answers(first))
    assert bench.sent() == [], "the answer to the first one is not waited for any more"
    bench.settle()
    assert bench.board.unit.weights[0] == 5


def test_commands_are_sent_without_waiting_up_to_the_window(bench):
    commands = [bench.write(n, n) for n in range(40)]
    sent = bench.sent()
    assert [frame.sequence for frame in sent] == list(range(WINDOW))
    answers = bench.answers(sent)
    bench.deliver(answers[:3])
    assert [command.done for command in commands[:4]] == [True, True, True, False]
    assert [frame.sequence for frame in bench.sent()] == [16, 17, 18]
    assert (
        bench.session.state()
        == "3 commands are applied, 16 more may be, from WRITE of weights 3 to 3 on"
    )


def test_a_lost_command_is_sent_again_with_all_behind_it(bench):
    for n in range(8):
        bench.write(n, n + 1)
    sent = bench.sent()
    answers = bench.answers(sent[:3] + sent[4:])
    assert [answer.kind for answer in answers] == [Answer.REPORT] * 3 + [Answer.GAP]
    bench.deliver(answers)
    assert [frame.sequence for frame in bench.sent()] == [3, 4, 5, 6, 7]
    bench.deliver(answers)
    assert bench.sent() == [], "copies of old answers ask for nothing"
    assert bench.session.resent == 5


def test_a_lost_report_is_recalled(bench):
    commands = [bench.write(n, n + 1) for n in range(3)]
    answers = bench.answers(bench.sent())
    bench.deliver(answers[2:])
    assert not any(command.done for command in commands)
    recalls = bench.sent()
    assert kinds(recalls) == ["RECALL", "RECALL"]
    assert [frame.sequence for frame in recalls] == [0, 1]
    bench.deliver(bench.answers(recalls))
    assert all(command.done for command in commands)
    assert bench.board.repeated == 0


def test_silence_is_ended_by_a_status_request_whose_last_answer_counts(bench):
    bench.write(0, 7)
    assert kinds(bench.sent()) == ["WRITE"]
    assert bench.sent() == []
    bench.now = bench.session.deadline
    first = bench.sent()
    bench.now = bench.session.deadline
    second = bench.sent()
    assert kinds(first + second) == ["STATUS", "STATUS"]
    bench.deliver(bench.answers(first))
    assert bench.sent() == []
    bench.deliver(bench.answers(second))
    assert kinds(bench.sent()) == ["WRITE"]


def test_what_is_executed_but_not_reported_is_recalled_after_silence(bench):
    command = bench.write(0, 7)
    bench.answers(bench.sent())
    bench.now = bench.session.deadline
    bench.deliver(bench.answers(bench.sent()))
    recall = bench.sent()
    assert kinds(recall) == ["RECALL"]
    bench.deliver(bench.answers(recall))
    assert command.report["elements"] == 1


def test_queries_see_what_was_commanded_before_and_nothing_behind(bench):
    bench.write(0, 1)
    early = bench.ask()
    bench.write(1, 2)
    late = bench.ask()
    for expected in ("WRITE", "READ", "WRITE", "READ"):
        requests = bench.sent()
        assert kinds(requests) == [expected]
        bench.deliver(bench.answers(requests))
    assert (early.answer, late.answer) == (b"\1".ljust(9, b"\0"), b"\1\0\0\2".ljust(9, b"\0"))


def test_many_queries_are_under_way_and_a_lost_one_is_asked_again(bench):
    queries = [bench.ask() for _ in range(30)]
    requests = bench.sent()
    assert 8 < len(requests) <= WINDOW
    assert sum(len(frame.to_bytes()) for frame in requests) <= 2 * LINK.frame_bytes
    answers = bench.answers(requests)
    bench.deliver(answers[1:2])
    assert bench.sent()[0] == requests[0]
    bench.deliver(answers[2:])
    bench.settle()
    assert all(query.answer == bytes(9) for query in queries)


def test_a_query_that_cannot_be_served_is_an_error(bench):
    payload = pack(ARGUMENTS[Request.READ], {"base": 63, "count": 2})
    bench.session.submit(Query(Request.READ, payload, 6), 0.0)
    with pytest.raises(DeviceError, match="cannot serve READ 3f 00 00 00 02 00; 0 commands are"):
        bench.settle()


def test_a_board_that_says_nothing_is_given_up(bench):
    bench.write(0, 1)
    bench.settle()
    bench.write(1, 1)
    bench.write(2, 1)
    start = bench.now
    with pytest.raises(DeviceError) as error:
        bench.settle(None)
    assert 5 < bench.now - start < 7
    assert "has not answered the command after the 1 that it has answered for" in str(error.value)
    assert "1 commands are applied, 2 more may be" in str(error.value)


def test_a_program_that_slept_asks_before_it_gives_up(bench):
    bench.write(0, 1)
    bench.now += 1000.0
    bench.settle()
    assert bench.board.unit.weights[0] == 1


def test_damage_that_never_ends_is_given_up_although_status_gets_through(bench):
    bench.write(0, 1)
    with pytest.raises(DeviceError, match="has not answered the command after the 0"):
        bench.settle(Request.STATUS)


def test_another_program_on_the_board_is_noticed(bench):
    bench.write(0, 1)
    payload = pack(ARGUMENTS[Request.BEGIN], {"session": 0xBAD})
    bench.answers([Frame(Request.BEGIN, 1, SESSION, payload)])
    bench.deliver(bench.answers(bench.sent()))
    message = "another program has taken the board: it is in session 0x00000bad, not in 0x00000064"
    with pytest.raises(DeviceError, match=message):
        bench.settle()
    assert not bench.board.unit.weights.any()


def test_a_board_that_lost_its_power_gets_everything_again(bench):
    bench.write(3, 30)
    bench.write(9, 90)
    raised = Command(Request.RAISE, b"\4", np.zeros(0, np.int64))
    bench.session.submit(raised, 0.0)
    bench.settle()
    command = bench.write(3, 31)
    bench.board.power_cycle()
    assert bench.answers(bench.sent())[0].session == 0
    bench.now = bench.session.deadline
    bench.settle()
    assert bench.board.session == SESSION + 1
    assert np.flatnonzero(bench.board.unit.weights).tolist() == [3, 9]
    assert (bench.board.unit.weights[3], bench.board.unit.floor) == (31, 4)
    assert (command.done, bench.session.losses, bench.session.answered) == (True, 1, 4)


def test_an_idle_board_that_lost_its_power_is_noticed_by_the_next_query(bench):
    bench.write(0, 5)
    bench.settle()
    bench.board.power_cycle()
    query = bench.ask()
    bench.settle()
    assert query.answer == b"\5".ljust(9, b"\0")


def test_an_old_begin_after_a_power_loss_is_noticed(bench):
    bench.write(0, 5)
    bench.settle()
    bench.board.power_cycle()
    bench.answers([Frame(Request.BEGIN, 1, 0, OLD_BEGIN)])
    assert bench.board.session == SESSION
    bench.write(1, 6)
    bench.settle()
    assert bench.board.unit.weights[:2].tolist() == [5, 6]
    assert bench.session.losses == 1


def test_an_old_begin_that_comes_before_the_new_one(bench):
    bench.write(0, 5)
    bench.settle()
    bench.board.power_cycle()
    bench.write(1, 6)
    begin = bench.until("BEGIN")
    bench.answers([dataclasses.replace(begin[0], payload=OLD_BEGIN)])
    assert bench.board.session == SESSION
    bench.deliver(bench.answers(begin))
    bench.settle()
    assert bench.board.session == SESSION + 1
    assert bench.board.unit.weights[:2].tolist() == [5, 6]


def test_power_lost_while_weights_are_written_again(bench):
    for n in range(64):
        bench.write(n, n)
    bench.settle()
    bench.write(5, 50)
    for cut in (2, 1, 0):  # of the two frames that write them
        bench.board.power_cycle()
        bench.now = bench.session.deadline
        bench.deliver(bench.answers(bench.until("BEGIN")))
        bench.deliver(bench.answers(bench.sent()[:cut]))
        assert bench.session.state().startswith("64 commands are applied")
    assert "the board has lost its memory, and not all of it is" in bench.session.state()
    bench.settle()
    assert bench.board.unit.weights.tolist() == [*range(5), 50, *range(6, 64)]
    assert bench.session.answered == 65


def test_after_the_line_was_gone_the_board_is_asked_first(bench):
    for n in range(5):
        bench.write(n, n + 1)
    bench.answers(bench.sent()[:3])
    bench.session.reconnected(bench.now)
    status = bench.sent()
    assert kinds(status) == ["STATUS"]
    bench.deliver(bench.answers(status))
    assert kinds(bench.sent()) == ["RECALL"] * 3 + ["WRITE"] * 2


def test_numbers_go_round(bench):
    bench.session._flight._first = bench.board.next = 0xFFF8
    for n in range(40):
        bench.write(n, n)
    sent = bench.sent()
    bench.deliver(bench.answers(sent[:10] + sent[11:]))
    bench.settle()
    assert bench.board.unit.weights[:40].tolist() == list(range(40))
    assert bench.board.next == 32


def test_frames_that_are_none_of_ours_are_ignored(bench, rng):
    bench.write(0, 1)
    requests = bench.sent()
    bench.deliver([*requests, Frame(Answer.REPORT, 0, SESSION, b"short"), Frame(0x99, 0, 7, b"")])
    bench.session.receive(rng.bytes(5000), bench.now)
    bench.deliver([Frame(Answer.WEIGHTS, 500, SESSION, bytes(6))])
    assert bench.sent() == []
    bench.settle()
    assert bench.board.unit.weights[0] == 1
