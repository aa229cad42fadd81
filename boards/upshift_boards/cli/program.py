"""``upshift program``: load a bitstream into a board, with the programmer usual for it."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

EXAMPLES = """\
examples:
  upshift program ulx3s_25f                   loads build/ulx3s_25f.bit
  upshift program icebreaker out/icebreaker.bin
"""

PACKAGES = {
    "openFPGALoader": "openfpgaloader",
    "iceprog": "fpga-icestorm",
    "dfu-util": "dfu-util",
}
"""Debian's packages of the programmers."""


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = commands.add_parser(
        "program",
        help="load a bitstream into a board",
        description="Run the programmer that is usual for a board.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "board", metavar="BOARD", help="name, or the beginning of one, such as ulx3s"
    )
    parser.add_argument(
        "bitstream", nargs="?", type=Path, metavar="BITSTREAM", help="default: from build/"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the programmer and return 1 if it is missing or fails."""
    from upshift_boards import build, find

    board = find(options.board)
    bitstream = options.bitstream or build.bitstream(board)
    if not bitstream.is_file():
        raise FileNotFoundError(
            f"there is no bitstream {bitstream}: upshift build {board.name} makes one"
        )
    name = board.programmer[0]
    program = shutil.which(name)
    if program is None:
        return _fail(
            f"{name} is not installed; Debian and Ubuntu have it as: "
            f"sudo apt install {PACKAGES[name]}"
        )
    command = [program, *(part.format(bitstream=bitstream) for part in board.programmer[1:])]
    print(" ".join(command), file=sys.stderr)
    status = subprocess.run(command, check=False).returncode
    if status:
        return _fail(f"{name} failed with exit status {status}; is the {board.title} plugged in?")
    return 0


def _fail(message: str) -> int:
    print(f"upshift program: {message}", file=sys.stderr)
    return 1
