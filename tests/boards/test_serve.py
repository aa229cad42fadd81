"""A board's whole gateware, served, in-process, verified and measured."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading

import pytest

import upshift.device
import upshift_boards
from upshift import cli
from upshift.config import UnitConfig
from upshift_boards import BOARDS, find, virtual
from upshift_boards.cli import serve as serve_command

SMALL = UnitConfig(lanes=4, depth=64, max_rate=20)


@pytest.fixture
def tiny(monkeypatch, tmp_path_factory):
    """Let every board have a small unit and short frames, which are compiled once."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if own.name.startswith("popen-") else own
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared / "compiled-units"))

    def find_small(name):
        board = find(name)
        return dataclasses.replace(board, config=SMALL, frame_bytes=128)

    for module in (virtual, upshift_boards):
        monkeypatch.setattr(module, "find", find_small)


def test_a_virtual_board_needs_a_name():
    with pytest.raises(ValueError, match=r"needs the name of a board: virtual:ulx3s_25f,"):
        upshift.device.open("virtual:")
    with pytest.raises(ValueError, match="no board is called 'abacus': there are ulx3s_25f"):
        upshift.device.open("virtual:abacus")


def test_the_ladder_replayed_on_a_virtual_board(tiny, capsys):
    words = ["verify", "--device", "virtual:ulx3s", "--bursts", "60", "--seed", "3"]
    assert cli.main([*words, "--board", "ulx3s_25f", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["board"], result["url"]) == ("ulx3s_25f", "virtual:ulx3s")
    assert result["digest"] == SMALL.digest
    board = find("ulx3s_25f")
    assert result["identity"]["clock"] == board.link.clock
    assert result["identity"]["baud"] == board.baud
    assert (result["equal"], result["failure"], result["weights"]) == (True, "", 64)
    assert result["reports"] > 80
    assert cli.main(words) == 0
    assert "reports compared with the integer model: equal" in capsys.readouterr().out


def test_the_link_of_a_virtual_board_is_measured(tiny, capsys):
    assert cli.main(["bench", "--link", "virtual:ulx3s", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    rows = {row["what"]: row for row in result["rows"]}
    assert 0.7 < result["dense_efficiency"] < 1, "short frames"
    assert rows["update, masked"]["seconds"] < rows["update, dense"]["seconds"]
    assert rows["source"]["payload"] == 16 * 64
    assert cli.main(["bench", "--link", "model:"]) == 2
    assert "--link model: is not allowed: a board" in capsys.readouterr().err


@pytest.fixture
def served(tiny, monkeypatch, capsys):
    """Return a function that serves while another runs, and returns what was printed."""

    def run(arguments, use):
        with monkeypatch.context() as patch:
            _serve(patch, arguments, use)
        return capsys.readouterr().out

    return run


def _serve(patch, arguments, use):
    outcome = {}
    ready = threading.Event()

    def announce(options, name, line):
        outcome["url"] = line.url
        ready.set()

    def user():
        ready.wait(60)
        try:
            use(outcome["url"])
        except BaseException as error:  # the main thread raises it
            outcome["error"] = error
        os.kill(os.getpid(), signal.SIGINT)

    patch.setattr(serve_command, "_announce", announce)
    thread = threading.Thread(target=user)
    thread.start()
    assert cli.main(["serve", "--board", "ulx3s", *arguments]) == 0
    thread.join()
    if "error" in outcome:
        raise outcome["error"]


@pytest.mark.parametrize("line", [[], ["--port", "0"]])
def test_a_served_board_is_a_device_and_outlives_its_clients(served, line):
    def use(url):
        with upshift.device.open(url) as device:
            assert device.config == SMALL
            device.write(0, list(range(64)))
        with upshift.device.open(url, SMALL) as device:
            assert device.read(0, 64).tolist() == list(range(64))

    printed = json.loads(served([*line, "--json"], use))
    assert printed["frames"] > 6
    assert printed["rejected"] == printed["repeated"] == 0
    assert printed["clocks_per_second"] > 1000
    assert printed["board_seconds"] == pytest.approx(printed["clocks"] / 50e6)


def test_what_serve_prints(served):
    printed = served([], lambda url: None)
    assert "clocks/s" in printed
    assert "frames, 0 rejected, 0 commands came again" in printed


def test_serve_as_a_command_ends_at_a_signal(tiny):
    code = (
        "import dataclasses, sys, upshift_boards; find = upshift_boards.find\n"
        "from upshift.config import UnitConfig\n"
        "upshift_boards.find = lambda name: dataclasses.replace(find(name), frame_bytes=128,\n"
        "    config=UnitConfig(lanes=4, depth=64, max_rate=20))\n"
        "from upshift import cli; sys.exit(cli.main(['serve', '--board', 'ulx3s']))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as done:
        first = done.stdout.readline()
        assert first.startswith("ulx3s_25f is at serial:///dev/pts/")
        assert done.stdout.readline().startswith("  upshift train --device serial:///dev/pts/")
        done.send_signal(signal.SIGTERM)
        assert "clocks/s" in done.communicate(timeout=30)[0]
    assert done.returncode == 0


def test_wrong_arguments(capsys):
    assert cli.main(["serve", "--board", "abacus"]) == 2
    assert "no board is called 'abacus'" in capsys.readouterr().err
    assert cli.main(["serve", "--board", BOARDS[0].name, "--port", "70000"]) == 2
    assert "--port 70000 is not allowed: 0 to 65535" in capsys.readouterr().err
