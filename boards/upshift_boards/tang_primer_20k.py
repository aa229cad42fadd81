"""Tang Primer 20K on its Dock; what the Dock's USB bridge reaches depends on its firmware."""

from upshift.config import UnitConfig
from upshift_boards.board import Board

BOARD = Board(
    name="tang_primer_20k",
    title="Sipeed Tang Primer 20K with Dock",
    platform="amaranth_boards.tang_primer_20k:TangPrimer20kDockPlatform",
    family="gowin",
    device="GW2A-LV18PG256C8/I7",
    clock=27_000_000,
    pll=None,  # place and route takes most of a minute longer with one
    baud=1_000_000,
    frame_bytes=2048,
    led="led",
    programmer=("openFPGALoader", "-b", "tangprimer20k", "{bitstream}"),
    notes="the second serial port of the Dock's USB connector; 1 Mbaud, since the bridge's limit "
    "is not documented; switch 1 of the Dock must be on",
    config=UnitConfig(lanes=2, depth=16384),  # ample for the line, and quickly placed
)
