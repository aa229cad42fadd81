"""What a board's link is: its clock, its line rate and how long a frame may be.

The board announces these numbers, so a driver needs none of them beforehand but the line rate.
"""

from __future__ import annotations

from dataclasses import dataclass

from upshift.config import UnitConfig


@dataclass(frozen=True)
class LinkConfig:
    """The link of one board.

    Parameters
    ----------
    clock : int
        Clock of the gateware in Hz.
    baud : int
        Bits per second on the line; at most a quarter of the clock.
    frame_bytes : int
        Longest frame, header and check included, before it is stuffed: a power of two, 128 to
        16384. The board buffers two.

    Raises
    ------
    ValueError
        If a number is not allowed, or no period of the clock comes close enough to the rate.
    """

    clock: int
    baud: int
    frame_bytes: int = 1024

    def __post_init__(self) -> None:
        if self.clock < 1:
            raise ValueError(f"clock {self.clock} Hz is not allowed: 1 or more")
        if not 1 <= self.baud <= self.clock // 4:
            raise ValueError(
                f"baud {self.baud} is not allowed at {self.clock} Hz: up to {self.clock // 4}"
            )
        if not 128 <= self.frame_bytes <= 16384 or self.frame_bytes & (self.frame_bytes - 1):
            raise ValueError(
                f"frame_bytes {self.frame_bytes} is not allowed: a power of two, 128 to 16384"
            )
        if abs(self.baud_error) >= MAX_BAUD_ERROR:
            raise ValueError(
                f"baud {self.baud} is not allowed at {self.clock} Hz: the nearest rate is off by "
                f"{self.baud_error:+.1%}, and {MAX_BAUD_ERROR:.0%} is too much"
            )

    @property
    def period(self) -> int:
        """Clocks per bit, in units of ``1 / PERIOD_STEPS`` clock."""
        return round(PERIOD_STEPS * self.clock / self.baud)

    @property
    def baud_error(self) -> float:
        """How far the board's line rate is from `baud`, as a fraction of it."""
        return PERIOD_STEPS * self.clock / (self.period * self.baud) - 1


def check_unit(config: UnitConfig) -> None:
    """Raise ValueError unless a unit can stand behind a link."""
    if config.memory != "resident":
        raise ValueError(f"a link reaches resident weights only, not {config.memory} ones")
    if config.updates:
        raise ValueError("a link takes no updates: a unit that sends them would stand still")


PERIOD_STEPS = 8
"""Steps per clock in which a bit's length is counted: an eighth of a clock."""

MAX_BAUD_ERROR = 0.02
"""Error of the line rate that is refused; ten bits leave half a bit, or 5 %, to both ends."""
