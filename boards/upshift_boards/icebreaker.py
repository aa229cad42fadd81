"""iCEBreaker, an UltraPlus; its FT2232H reaches 12 Mbaud, its 30 block RAMs hold 512 bytes each."""

from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift_boards.board import Board

BOARD = Board(
    name="icebreaker",
    title="1BitSquared iCEBreaker",
    platform="amaranth_boards.icebreaker:ICEBreakerPlatform",
    family="ice40",
    device="iCE40UP5K-SG48",
    clock=18_000_000,
    pll="SB_PLL40_PAD",  # pin 35 is the PLL's own
    baud=3_000_000,
    frame_bytes=1024,
    led="led",
    programmer=("iceprog", "{bitstream}"),
    notes="the second serial port of the USB connector",
    config=UnitConfig(lanes=4, weight=Fixed(16, 14), depth=4096),
)
