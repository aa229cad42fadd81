"""OrangeCrab r0.2; its USB connector goes straight to the FPGA, so the serial line is on pins."""

from upshift.config import UnitConfig
from upshift_boards.board import Board, Header

BOARD = Board(
    name="orangecrab",
    title="OrangeCrab r0.2 25F",
    platform="amaranth_boards.orangecrab_r0_2:OrangeCrabR0_2_25FPlatform",
    family="ecp5",
    device="LFE5U-25F-8MG285C",
    clock=48_000_000,
    pll=None,
    baud=1_000_000,
    frame_bytes=2048,
    led="rgb_led.g",
    programmer=("dfu-util", "-a", "0", "-D", "{bitstream}"),
    notes="a 3.3 V USB-to-serial adapter: its TX to Feather pin 0, its RX to pin 1, and ground; "
    "1 Mbaud, which common adapters reach; hold the button while plugging in to program",
    config=UnitConfig(depth=16384),
    # amaranth-boards describes no serial line, for this board has no bridge.
    uart=Header("io", rx="0", tx="1", attributes=(("IO_TYPE", "LVCMOS33"), ("PULLMODE", "UP"))),
)
