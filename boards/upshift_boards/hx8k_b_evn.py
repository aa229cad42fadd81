"""Lattice's iCE40-HX8K breakout board; its FT2232H reaches 12 Mbaud."""

from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift_boards.board import Board

BOARD = Board(
    name="hx8k_b_evn",
    title="Lattice iCE40-HX8K breakout board",
    platform="amaranth_boards.ice40_hx8k_b_evn:ICE40HX8KBEVNPlatform",
    family="ice40",
    device="iCE40HX8K-CT256",
    clock=48_000_000,
    pll="SB_PLL40_CORE",
    baud=3_000_000,
    frame_bytes=1024,
    led="led",
    programmer=("iceprog", "-S", "{bitstream}"),
    notes="the second serial port of the USB connector; jumpers set for loading the FPGA rather "
    "than the flash memory, as the board's manual says",
    config=UnitConfig(weight=Fixed(16, 14), depth=4096),
)
