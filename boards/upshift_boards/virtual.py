"""``virtual:BOARD``, a board's complete gateware in this process, behind the shipped driver.

Time is the board's clock and nothing runs beside the caller, so that runs repeat exactly.
"""

from __future__ import annotations

from upshift.config import UnitConfig
from upshift.device.link import LinkDevice
from upshift_boards import BOARDS, find
from upshift_sim.board import BoardTransport, VirtualBoard


def open_virtual(address: str, config: UnitConfig | None, default: UnitConfig) -> LinkDevice:
    """Open ``virtual:BOARD``, such as ``virtual:ulx3s``."""
    if not address:
        names = ", ".join(f"virtual:{board.name}" for board in BOARDS)
        raise ValueError(f"needs the name of a board: {names}")
    board = find(address)
    transport = BoardTransport(VirtualBoard(board.config, board.link), f"virtual:{board.name}")
    return LinkDevice(transport, config)
