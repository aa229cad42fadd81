"""ULX3S with the largest ECP5; all but the FPGA is that of the 25F."""

from dataclasses import replace

from upshift.config import UnitConfig
from upshift_boards import ulx3s_25f

BOARD = replace(
    ulx3s_25f.BOARD,
    name="ulx3s_85f",
    title="Radiona ULX3S 85F",
    platform="amaranth_boards.ulx3s:ULX3S_85F_Platform",
    device="LFE5U-85F-6BG381C",
    config=UnitConfig(depth=32768),
)
