"""In which order the two sides are reset, so that no crossing ever carries rubbish."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out


class ResetSequencer(wiring.Component):
    """Reset the unit, then the crossings, then let both go.

    The unit goes first: were the bus side of a queue reset under a unit that still runs, the
    unit would see payloads that nobody sent. Each step waits until the other clock has seen the
    one before, so the ratio of the clocks does not matter, and a clock that stands still only
    delays the end.

    Runs in ``bus``, whose reset starts the sequence as well; the unit's clock is ``sync``.

    Members
    -------
    start : In
        Start the sequence, while `running`.
    running : Out
        No reset is in progress.
    link_reset : Out
        Reset of the bus side of the crossings, in ``bus``.
    unit_reset : Out
        Reset of the unit's side, in ``sync``.
    """

    def __init__(self):
        super().__init__(
            {"start": In(1), "running": Out(1), "link_reset": Out(1), "unit_reset": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        # What crosses comes straight from a flip-flop. After configuration the unit is in reset.
        stop = Signal(init=1)
        link = Signal()
        stopped = Signal()
        link_seen = Signal()
        flushed = Signal()
        m.submodules.stop_sync = FFSynchronizer(stop, self.unit_reset, o_domain="sync", init=1)
        m.submodules.stopped_sync = FFSynchronizer(self.unit_reset, stopped, o_domain="bus")
        # One stage more than a crossing has: when it is seen here, it is seen there.
        m.submodules.link_sync = FFSynchronizer(link, link_seen, o_domain="sync", stages=3)
        m.submodules.flushed_sync = FFSynchronizer(link_seen, flushed, o_domain="bus")
        m.d.comb += self.link_reset.eq(link)

        with m.FSM(domain="bus"):
            with m.State("stop the unit"), m.If(stopped):
                m.d.bus += link.eq(1)
                m.next = "reset the crossings"
            with m.State("reset the crossings"), m.If(flushed):
                m.d.bus += stop.eq(0)
                m.next = "start the unit"
            with m.State("start the unit"), m.If(~stopped):
                m.d.bus += link.eq(0)
                m.next = "start the crossings"
            with m.State("start the crossings"), m.If(~flushed):
                m.next = "run"
            with m.State("run"):
                m.d.comb += self.running.eq(1)
                with m.If(self.start):
                    m.d.bus += stop.eq(1)
                    m.next = "stop the unit"
        return m
