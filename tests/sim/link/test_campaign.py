"""Thousands of faulted frames on the way to a compiled board, and checks that can fail."""

import json

import pytest

from upshift import cli
from upshift.link.session import Session
from upshift_sim import faults
from upshift_sim.board import VirtualBoard

ENOUGH = 2000


@pytest.fixture
def board(cache):
    board = VirtualBoard(faults.CONFIG, faults.LINK)
    yield board
    board.close()


def scenario(name):
    return next(one for one in faults.SCENARIOS if one.name == name)


def test_thousands_of_faulted_frames_leave_the_weights_of_a_clean_run(cache, seed, capsys):
    status = cli.main(["verify", "--faults", str(ENOUGH), "--seed", str(seed), "--json"])
    total = json.loads(capsys.readouterr().out)
    assert (status, total["wrong"]) == (0, [])
    assert total["faulted"] >= ENOUGH
    assert all(count for count in total["faults"].values()), "every kind happened"
    verdicts = total["outcomes"]
    assert set(verdicts.pop("hopeless")) == {"error"}
    assert all(set(counts) == {"equal"} for counts in verdicts.values())


def test_the_same_seed_gives_the_same_run(board, seed):
    for name in ("all together", "host dies"):
        first, second = (faults.play(board, scenario(name), seed, 0) for _ in range(2))
        assert first == second


def test_a_wrong_weight_is_noticed(board, seed, monkeypatch):
    exact = faults.step

    def inexact(weights, *arguments, **options):
        new, report = exact(weights, *arguments, **options)
        new[0] ^= 1
        return new, report

    monkeypatch.setattr(faults, "step", inexact)
    outcome = faults.play(board, scenario("drop"), seed, 0)
    assert outcome.verdict == "wrong"
    assert outcome.message == "the checksum differs"


def test_an_error_that_lies_is_noticed(board, seed, monkeypatch):
    monkeypatch.setattr(Session, "state", lambda self: "3 commands are applied")
    outcome = faults.play(board, scenario("hopeless"), seed, 0)
    assert outcome.verdict == "wrong"
    assert "the board does not hold what the error says" in outcome.message


def test_an_error_that_says_nothing_is_noticed(board, seed, monkeypatch):
    monkeypatch.setattr(Session, "state", lambda self: "sorry")
    assert "names no state" in faults.play(board, scenario("hopeless"), seed, 0).message


def test_the_table_of_a_campaign(capsys, cache):
    assert cli.main(["verify", "--faults", "1"]) == 0
    table = capsys.readouterr().out
    assert table.startswith("scenario  ")
    assert "drop                          1            0      0" in table


@pytest.mark.parametrize("words", [["--faults", "0"], ["--faults", "1", "--device", "rtl:"]])
def test_what_is_not_allowed(words, capsys):
    assert cli.main(["verify", *words]) == 2
    assert "not allowed" in capsys.readouterr().err
