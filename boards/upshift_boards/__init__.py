"""FPGA boards: pins, clocks and bitstreams of the update unit behind its serial link.

One data-only file describes one board. To add a board, write such a file and name it here.
"""

from upshift_boards import (
    hx8k_b_evn,
    icebreaker,
    orangecrab,
    tang_nano_9k,
    tang_primer_20k,
    ulx3s_25f,
    ulx3s_85f,
)
from upshift_boards.board import Board

BOARDS: tuple[Board, ...] = (
    ulx3s_25f.BOARD,
    ulx3s_85f.BOARD,
    icebreaker.BOARD,
    tang_nano_9k.BOARD,
    hx8k_b_evn.BOARD,
    orangecrab.BOARD,
    tang_primer_20k.BOARD,
)
"""All boards, in the order in which they are listed and searched."""


def find(name: str) -> Board:
    """Return the board of this name, or else the first whose name starts with it.

    Raises
    ------
    ValueError
        If there is none; the message lists the names.
    """
    for board in BOARDS:
        if board.name == name:
            return board
    for board in BOARDS:
        if name and board.name.startswith(name):
            return board
    names = ", ".join(board.name for board in BOARDS)
    raise ValueError(f"no board is called {name!r}: there are {names}")
