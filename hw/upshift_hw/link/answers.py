"""Writes answers: a header, and a payload that comes from elsewhere."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from upshift.link.config import LinkConfig
from upshift.link.frames import HEADER, HEADER_BYTES, max_payload
from upshift_hw.link.cobs import FRAME_BYTE
from upshift_hw.shapes import layout_of


class AnswerWriter(wiring.Component):
    """Write one answer at a time.

    Two clocks per byte, so that sources may need one to follow `place`.

    Parameters
    ----------
    link : LinkConfig

    Members
    -------
    enable : In
        Write an answer; high until `done`.
    kind, number, length, session : In
        The header; `number` is its sequence number.
    place : Out
        Which byte of the payload is wanted, modulo 256.
    payload : In(stream)
        That byte; taken in the second clock that `place` is what it is, or later.
    o : Out(stream)
        The answer, its last byte marked.
    done : Out
        The last byte was taken in this clock.
    """

    def __init__(self, link: LinkConfig):
        self.link = link
        header = layout_of(HEADER).members
        super().__init__(
            {
                "enable": In(1),
                "kind": In(header["kind"]),
                "number": In(header["sequence"]),
                "length": In(range(max_payload(link.frame_bytes) + 1)),
                "session": In(header["session"]),
                "place": Out(8),
                "payload": In(stream.Signature(8)),
                "o": Out(stream.Signature(FRAME_BYTE)),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        header = Signal(layout_of(HEADER))
        m.d.comb += [
            header.kind.eq(self.kind),
            header.sequence.eq(self.number),
            header.length.eq(self.length),
            header.session.eq(self.session),
        ]
        place = Signal.like(self.length)
        next_place = Signal(len(place) + 1)
        in_payload, fetch = Signal(), Signal()
        fetched, last = Signal(8), Signal()
        m.d.comb += [
            self.place.eq(place),
            next_place.eq(place + 1),
            self.payload.ready.eq(self.enable & in_payload & ~self.o.valid),
            self.done.eq(self.o.valid & self.o.ready & self.o.payload.last),
        ]
        with m.If(in_payload):
            m.d.comb += [
                fetched.eq(self.payload.payload),
                last.eq(next_place == self.length),
                fetch.eq(self.payload.ready & self.payload.valid),
            ]
        with m.Else():
            header_place = place[: (HEADER_BYTES - 1).bit_length()]
            header_ends = place == HEADER_BYTES - 1
            m.d.comb += [
                fetched.eq(header.as_value().word_select(header_place, 8)),
                last.eq(header_ends & (self.length == 0)),
                fetch.eq(self.enable & ~self.o.valid),
            ]
        with m.If(fetch):
            m.d.sync += [
                self.o.valid.eq(1),
                self.o.payload.byte.eq(fetched),
                self.o.payload.last.eq(last),
                place.eq(next_place),
            ]
            with m.If(last | (header_ends & ~in_payload)):
                m.d.sync += [place.eq(0), in_payload.eq(~last)]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        return m
