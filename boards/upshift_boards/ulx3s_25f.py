"""ULX3S with the smaller ECP5; its USB bridge is an FT231X, which reaches 3 Mbaud."""

from upshift.config import UnitConfig
from upshift_boards.board import Board

BOARD = Board(
    name="ulx3s_25f",
    title="Radiona ULX3S 25F",
    platform="amaranth_boards.ulx3s:ULX3S_25F_Platform",
    family="ecp5",
    device="LFE5U-25F-6BG381C",
    clock=50_000_000,
    pll="EHXPLLL",
    baud=3_000_000,
    frame_bytes=2048,
    led="led",
    programmer=("openFPGALoader", "-b", "ulx3s", "{bitstream}"),
    notes="USB connector US1 carries both programming and the serial line",
    config=UnitConfig(depth=16384),
)
