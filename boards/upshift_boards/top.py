"""What goes into the FPGA: a clock, the unit behind its link, two wires and a light."""

from __future__ import annotations

from typing import Any

from amaranth.build import Attrs
from amaranth.hdl import ClockDomain, Elaboratable, Module
from amaranth.lib import io
from amaranth_boards.resources import UARTResource

from upshift.formats import Raw
from upshift_boards.board import Board
from upshift_boards.clock import BoardClock
from upshift_hw.link import LinkedUnit


class BoardTop(Elaboratable):
    """Connect the unit of a board to its pins; the light shows that the unit is busy.

    Parameters
    ----------
    board : Board
    init : ndarray of int64, shape (depth,), optional
        Raw weights that the unit holds once the board is configured.
    """

    def __init__(self, board: Board, init: Raw | None = None):
        self.board = board
        self._init = init

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.domains.sync = ClockDomain()
        m.submodules.clock = BoardClock(self.board)
        m.submodules.unit = unit = LinkedUnit(self.board.config, self.board.link, self._init)
        uart = self._uart(platform)
        resource, _, part = self.board.led.partition(".")
        led = platform.request(resource, 0, dir="-")
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        m.submodules.led = light = io.Buffer("o", getattr(led, part) if part else led)
        m.d.comb += [unit.rx.eq(rx.i), tx.o.eq(unit.tx), light.o.eq(unit.busy)]
        return m

    def _uart(self, platform: Any) -> Any:
        header = self.board.uart
        if header is not None:
            attributes = Attrs(**dict(header.attributes))
            place = (header.connector, 0)
            platform.add_resources(
                [UARTResource(0, rx=header.rx, tx=header.tx, conn=place, attrs=attributes)]
            )
        return platform.request("uart", 0, dir="-")
