"""What every board says of itself, against amaranth-boards and its own limits."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest

from upshift_boards import BOARDS, build, find
from upshift_boards.clock import INSTANCES
from upshift_boards.pll import LIMITS

NAMES = [board.name for board in BOARDS]
EVERY = pytest.mark.parametrize("board", BOARDS, ids=NAMES)

DEMO_WEIGHTS = 9930
RAM_BITS = {"ecp5": 18432, "gowin": 18432, "ice40": 4096}
BLOCKS = {
    "LFE5U-25F": 56,
    "LFE5U-85F": 208,
    "iCE40UP5K": 30,
    "iCE40HX8K": 32,
    "GW1NR-LV9": 26,
    "GW2A-LV18": 46,
}


def test_the_boards_have_the_promised_names():
    assert NAMES == [
        "ulx3s_25f",
        "ulx3s_85f",
        "icebreaker",
        "tang_nano_9k",
        "hx8k_b_evn",
        "orangecrab",
        "tang_primer_20k",
    ]


@EVERY
def test_a_board_is_found_by_its_name(board):
    assert find(board.name) is board


def test_the_beginning_of_a_name_finds_the_first_board():
    assert find("ulx3s").name == "ulx3s_25f"
    assert find("tang").name == "tang_nano_9k"
    assert find("tang_p").name == "tang_primer_20k"


@pytest.mark.parametrize("name", ["", "ulx4m", "25f"])
def test_an_unknown_name_is_refused_with_a_list(name):
    with pytest.raises(ValueError, match=f"no board is called {name!r}: there are ulx3s_25f, .*"):
        find(name)


@EVERY
def test_the_clock_and_the_line_rate_can_be_made(board):
    assert abs(board.link.clock / board.clock - 1) < 1e-3
    assert abs(board.link.baud_error) < 0.005  # far inside the 2 % that would be refused
    assert board.link.clock == (
        board.oscillator if board.settings is None else board.settings.frequency
    )
    assert (board.pll is None) == (board.clock == board.oscillator)


@EVERY
def test_the_device_is_the_one_of_the_platform(board):
    platform = board.load_platform()
    if board.family == "ecp5":
        wanted = f"{platform.device}-{platform.speed}{platform.package}C"
    elif board.family == "ice40":
        wanted = f"{platform.device}-{platform.package}"
    else:
        wanted = platform.part
    assert board.device == wanted


@EVERY
def test_weights_and_buffers_fit_the_block_rams(board):
    config = board.config
    bits = config.depth * config.weight.width + 8 * (2 * board.frame_bytes + 512)
    blocks = next(n for device, n in BLOCKS.items() if board.device.startswith(device))
    assert bits <= blocks * RAM_BITS[board.family]


def test_the_demo_network_fits_the_larger_boards():
    small = {board.name for board in BOARDS if board.config.depth < DEMO_WEIGHTS}
    assert small == {"icebreaker", "hx8k_b_evn"}


@EVERY
def test_the_programmer_takes_the_bitstream_last(board):
    assert board.programmer[-1] == "{bitstream}"
    assert all("{" not in part for part in board.programmer[:-1])


def test_every_pll_has_limits_and_an_instance():
    assert set(LIMITS) == set(INSTANCES)
    assert {board.pll for board in BOARDS} - {None} <= set(LIMITS)


def test_boards_are_known_without_the_tools_that_build_them():
    code = (
        "import sys, upshift_boards\n"
        "assert upshift_boards.find('ulx3s').config.depth\n"
        "print(sorted({'amaranth', 'amaranth_boards', 'apycula', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- plans ----------------------------------------------------------------------------------------


FASTER_TANG = replace(find("tang_nano_9k"), name="faster_tang", clock=54_000_000, pll="rPLL")
PLANNED = pytest.mark.parametrize("board", [*BOARDS, FASTER_TANG], ids=[*NAMES, "faster_tang"])


@PLANNED
def test_pins_and_clocks_are_constrained(plan, board):
    """The pins of the oscillator, the receiver, the transmitter and the light."""
    pins = {
        "ulx3s_25f": ["G2", "M1", "L4", "B2"],
        "ulx3s_85f": ["G2", "M1", "L4", "B2"],
        "icebreaker": ["35", "6", "9", "11"],
        "tang_nano_9k": ["52", "18", "17", "10"],
        "hx8k_b_evn": ["J3", "B10", "B12", "C3"],
        "orangecrab": ["A9", "N17", "M18", "M3"],
        "tang_primer_20k": ["H11", "T13", "M11", "C13"],
        "faster_tang": ["52", "18", "17", "10"],
    }[board.name]
    suffix, pattern = {
        "ecp5": ("lpf", r'LOCATE COMP "(\S+)" SITE "(\S+)"'),
        "ice40": ("pcf", r"set_io (\S+) (\S+)"),
        "gowin": ("cst", r'IO_LOC "(\S+)" (\S+);'),
    }[board.family]
    text = plan(board).files[f"top.{suffix}"]
    assert sorted(pin for _, pin in re.findall(pattern, text)) == sorted(pins)
    if board.family == "gowin":
        assert f"--freq {board.link.clock / 1e6:g}" in " ".join(plan(board).commands[1])
    else:
        frequency = {"ecp5": f"{board.oscillator}.0 HZ", "ice40": f"{board.oscillator / 1e6}"}
        assert frequency[board.family] in text


@PLANNED
def test_the_netlist_has_the_pll_with_its_dividers(plan, board):
    text = plan(board).files["top.il"]
    for primitive in LIMITS:
        assert (f"cell \\{primitive} " in text) == (primitive == board.pll)
    if board.settings is None:
        return
    parameters = dict(re.findall(r"parameter \\(\w+) (\d+)$", text, re.MULTILINE))
    settings = board.settings
    wanted = {
        "EHXPLLL": {
            "CLKI_DIV": settings.reference,
            "CLKFB_DIV": settings.feedback,
            "CLKOP_DIV": settings.divider,
        },
        "rPLL": {
            "IDIV_SEL": settings.reference - 1,
            "FBDIV_SEL": settings.feedback - 1,
            "ODIV_SEL": settings.divider,
        },
    }.get(
        board.pll,
        {
            "DIVR": settings.reference - 1,
            "DIVF": settings.feedback - 1,
            "DIVQ": settings.divider.bit_length() - 1,
        },
    )
    assert {name: int(parameters[name]) for name in wanted} == wanted


@PLANNED
def test_the_commands_are_fixed_and_use_relative_names(plan, board):
    commands = plan(board).commands
    assert commands[0][0] == "yosys"
    assert "--seed 1 --report top.report.json" in " ".join(commands[1])
    for command in commands:
        assert not any(part.startswith("/") for part in command)


def test_a_plan_repeats_exactly(wire, plan):
    board = find("icebreaker")
    assert build.plan(board).files == plan(board).files
