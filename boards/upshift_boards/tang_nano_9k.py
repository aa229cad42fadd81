"""Tang Nano 9K; what its USB bridge reaches depends on the bridge's firmware."""

from upshift.config import UnitConfig
from upshift_boards.board import Board

BOARD = Board(
    name="tang_nano_9k",
    title="Sipeed Tang Nano 9K",
    platform="amaranth_boards.tang_nano_9k:TangNano9kPlatform",
    family="gowin",
    device="GW1NR-LV9QN88PC6/I5",
    clock=27_000_000,
    pll=None,  # place and route takes most of a minute longer with one
    baud=1_000_000,
    frame_bytes=2048,
    led="led",
    programmer=("openFPGALoader", "-b", "tangnano9k", "{bitstream}"),
    notes="the second serial port of the USB connector; 1 Mbaud, since the bridge's limit is "
    "not documented",
    config=UnitConfig(lanes=2, depth=16384),  # ample for the line, and quickly placed
)
