"""Which command comes next, and which ones have been executed already."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from upshift.link.frames import HEADER, NO_SESSION, WINDOW

_WIDTHS = {field.name: field.width for field in HEADER}


class CommandWindow(wiring.Component):
    """Keep the session, and tell new commands from old ones.

    Members
    -------
    begin : In
        Begin `new_session`.
    new_session : In
    advance : In
        The next command is executed.
    session, next : Out
        The session that the board is in, and the sequence number that it waits for.
    number : In
        The sequence number to look at.
    is_next, is_kept : Out
        It was the next command's in the clock before, or that of one whose report is kept.
    """

    def __init__(self):
        super().__init__(
            {
                "begin": In(1),
                "new_session": In(_WIDTHS["session"]),
                "advance": In(1),
                "session": Out(_WIDTHS["session"], init=NO_SESSION),
                "next": Out(_WIDTHS["sequence"]),
                "number": In(_WIDTHS["sequence"]),
                "is_next": Out(1),
                "is_kept": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        kept = Signal(range(WINDOW + 1))
        back = Signal.like(self.next)
        m.d.comb += back.eq(self.next - self.number)
        m.d.sync += [
            self.is_next.eq(back == 0),
            self.is_kept.eq((back != 0) & (back <= kept)),
        ]
        with m.If(self.begin):
            m.d.sync += [self.session.eq(self.new_session), self.next.eq(0), kept.eq(0)]
        with m.Elif(self.advance):
            m.d.sync += self.next.eq(self.next + 1)
            with m.If(kept != WINDOW):
                m.d.sync += kept.eq(kept + 1)
        return m
