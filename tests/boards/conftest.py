"""A unit that is quick to build."""

from contextlib import contextmanager
from functools import cache

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from upshift_boards import build


class Wire(wiring.Component):
    """Echoes the serial line, in place of the unit behind its link."""

    def __init__(self, config, link, init=None):
        super().__init__({"rx": In(1), "tx": Out(1), "busy": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.tx.eq(self.rx)
        m.d.comb += self.busy.eq(~self.tx)
        return m


@contextmanager
def _wired():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("upshift_boards.top.LinkedUnit", Wire)
        yield


@pytest.fixture
def wire():
    """Replace the gateware of boards by a wire."""
    with _wired():
        yield


@pytest.fixture(scope="module")
def plan():
    """Plan the build of a board's wire, once."""

    @cache
    def planned(board):
        with _wired():
            return build.plan(board)

    return planned
