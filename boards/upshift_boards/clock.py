"""The clock of a board: its oscillator, a PLL if there is one, and a reset until it is steady."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth.hdl import (
    ClockDomain,
    ClockSignal,
    Elaboratable,
    Instance,
    Module,
    ResetSignal,
    Signal,
)
from amaranth.lib import io
from amaranth.lib.cdc import FFSynchronizer

from upshift_boards.board import Board
from upshift_boards.pll import Settings

RESET_CLOCKS = 1024
"""Clocks of reset after the PLL has locked.

Block RAMs of the iCE40 read as zero for some microseconds after configuration.
"""


def _ecp5(settings: Settings, source: Any, clock: Signal, locked: Signal) -> Instance:
    return Instance(
        "EHXPLLL",
        # Charge pump and loop filter, as the vendor's tool sets them for such multiples.
        a_ICP_CURRENT="12",
        a_LPF_RESISTOR="8",
        a_MFG_ENABLE_FILTEROPAMP="1",
        a_MFG_GMCREF_SEL="2",
        p_CLKI_DIV=settings.reference,
        p_CLKFB_DIV=settings.feedback,
        p_CLKOP_DIV=settings.divider,
        p_CLKOP_CPHASE=settings.divider - 1,
        p_CLKOP_ENABLE="ENABLED",
        p_FEEDBK_PATH="CLKOP",
        i_CLKI=source,
        i_CLKFB=clock,
        i_RST=0,
        i_STDBY=0,
        o_CLKOP=clock,
        o_LOCK=locked,
    )


_ICE40_FILTERS = (17, 26, 44, 66, 101)
"""Comparison frequencies in MHz at which the loop filter's next range begins."""


def ice40_filter(settings: Settings) -> int:
    """Return the range of the loop filter, 1 to 6."""
    return 1 + sum(settings.comparison >= limit * 10**6 for limit in _ICE40_FILTERS)


def _ice40(primitive: str, port: str) -> Callable[..., Instance]:
    def instance(settings: Settings, source: Any, clock: Signal, locked: Signal) -> Instance:
        return Instance(
            primitive,
            p_FEEDBACK_PATH="SIMPLE",
            p_DIVR=settings.reference - 1,
            p_DIVF=settings.feedback - 1,
            p_DIVQ=settings.divider.bit_length() - 1,
            p_FILTER_RANGE=ice40_filter(settings),
            i_RESETB=1,
            i_BYPASS=0,
            o_PLLOUTGLOBAL=clock,
            o_LOCK=locked,
            **{f"i_{port}": source},
        )

    return instance


def _gowin(settings: Settings, source: Any, clock: Signal, locked: Signal) -> Instance:
    return Instance(
        "rPLL",
        p_FCLKIN=f"{settings.input / 1e6:g}",
        p_IDIV_SEL=settings.reference - 1,
        p_FBDIV_SEL=settings.feedback - 1,
        p_ODIV_SEL=settings.divider,
        i_CLKIN=source,
        o_CLKOUT=clock,
        o_LOCK=locked,
        # Dividers and phase are fixed, so their inputs rest.
        **{f"i_{name}": 0 for name in ("RESET", "RESET_P", "CLKFB")},
        **{f"i_{name}": 0 for name in ("FBDSEL", "IDSEL", "ODSEL", "PSDA", "DUTYDA", "FDLY")},
    )


INSTANCES: dict[str, Callable[..., Instance]] = {
    "EHXPLLL": _ecp5,
    "SB_PLL40_CORE": _ice40("SB_PLL40_CORE", "REFERENCECLK"),
    "SB_PLL40_PAD": _ice40("SB_PLL40_PAD", "PACKAGEPIN"),
    "rPLL": _gowin,
}
"""Makes the instance of each primitive in `upshift_boards.pll.LIMITS`."""


class BoardClock(Elaboratable):
    """Drive the domain `sync` at the board's clock, in reset until the clock is steady.

    The domain is defined by the parent, whose other parts use it.
    """

    def __init__(self, board: Board):
        self.board = board

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.domains.start = ClockDomain(reset_less=True, local=True)
        clock, locked = Signal(), Signal()
        oscillator = platform.request(platform.default_clk, dir="-")
        if self.board.pll == "SB_PLL40_PAD":
            source = oscillator.io  # this PLL has the pin's buffer
        else:
            m.submodules.oscillator = buffer = io.Buffer("i", oscillator)
            source = buffer.i
        settings = self.board.settings
        if self.board.pll is None or settings is None:
            m.d.comb += [clock.eq(source), locked.eq(1)]
        else:
            m.submodules.pll = INSTANCES[self.board.pll](settings, source, clock, locked)
        m.d.comb += [ClockSignal("sync").eq(clock), ClockSignal("start").eq(clock)]

        steady = Signal()
        m.submodules.steady = FFSynchronizer(locked, steady, o_domain="start")
        count = Signal(range(RESET_CLOCKS + 1))
        with m.If(~steady):
            m.d.start += count.eq(0)
        with m.Elif(~count[-1]):
            m.d.start += count.eq(count + 1)
        m.d.comb += ResetSignal("sync").eq(~count[-1])
        return m
