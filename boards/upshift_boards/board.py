"""What a board is: data, and what follows from it.

A board's file says only what nothing else knows. Pins and the oscillator come from
amaranth-boards, the PLL's dividers from `upshift_boards.pll`, the link's timing from the clock
that the PLL really reaches.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Literal

from upshift.config import UnitConfig
from upshift.link.config import LinkConfig
from upshift_boards.pll import Settings, search

Family = Literal["ecp5", "ice40", "gowin"]


@dataclass(frozen=True)
class Header:
    """Pins of a connector that carry a serial line, where the board has no USB bridge of its own.

    Attributes
    ----------
    connector : str
        Name of connector 0 of this kind in amaranth-boards.
    rx, tx : str
        The pin that the FPGA listens to, and the one it drives.
    attributes : tuple of pairs
        Electrical settings of both pins.
    """

    connector: str
    rx: str
    tx: str
    attributes: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Board:
    """One board, and the unit that is built for it.

    Attributes
    ----------
    name : str
        What commands call it.
    title : str
        What its makers call it.
    platform : str
        Its class in amaranth-boards, ``"module:class"``.
    family : str
        Of the FPGA, which decides the tools.
    device : str
        The FPGA's part.
    clock : int
        Wanted clock of the gateware in Hz.
    pll : str or None
        The PLL primitive, a key of `upshift_boards.pll.LIMITS`; None runs at the oscillator's
        frequency.
    baud : int
        Line rate in bits per second.
    frame_bytes : int
        Longest frame of the link.
    led : str
        Resource that shows activity; a part of it follows a dot.
    programmer : tuple of str
        Command that loads a bitstream, which stands in it as ``{bitstream}``.
    notes : str
        Where the serial line is, and what else one has to know.
    config : UnitConfig
        The update unit.
    uart : Header or None
        The serial line; None takes the board's resource ``uart``.
    """

    name: str
    title: str
    platform: str
    family: Family
    device: str
    clock: int
    pll: str | None
    baud: int
    frame_bytes: int
    led: str
    programmer: tuple[str, ...]
    notes: str
    config: UnitConfig
    uart: Header | None = None

    def load_platform(self) -> Any:
        """Return a new platform of amaranth-boards, which serves one build."""
        module, _, name = self.platform.partition(":")
        return getattr(importlib.import_module(module), name)()

    @property
    def oscillator(self) -> int:
        """Frequency of the board's oscillator in Hz."""
        return int(self.load_platform().default_clk_frequency)

    @property
    def settings(self) -> Settings | None:
        """Dividers of the PLL, None without one.

        Raises
        ------
        ValueError
            If the PLL cannot make the clock.
        """
        return None if self.pll is None else search(self.pll, self.oscillator, self.clock)

    @property
    def link(self) -> LinkConfig:
        """The link at the clock that is really reached.

        Raises
        ------
        ValueError
            If the PLL cannot make the clock, or the clock cannot make the line rate.
        """
        settings = self.settings
        clock = self.oscillator if settings is None else round(settings.frequency)
        return LinkConfig(clock, self.baud, self.frame_bytes)
