"""Reads requests: the header and the fields behind it are kept, data are passed on."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.link.config import LinkConfig
from upshift.link.frames import ARGUMENTS, HEADER, HEADER_BYTES, byte_width, max_payload

_ARGUMENT_BYTES = max(map(byte_width, ARGUMENTS.values()))
_FIELDS = {field.name: (bit, field.width) for bit, field in layout.places(HEADER)}


class RequestReader(wiring.Component):
    """Take requests apart.

    One byte per clock. A request is offered the clock after its last field, and waits for
    `finish`, after which what is left of its payload is thrown away.

    Parameters
    ----------
    link : LinkConfig

    Members
    -------
    i : In(stream)
        Header and payload of whole frames.
    session : In
        The session that the board is in.
    valid : Out
        A request is there; what follows belongs to it.
    kind, number : Out
        Of its header; `number` is its sequence number.
    known : Out
        There is such a kind.
    in_session : Out
        Its session is the board's.
    short : Out
        The payload is shorter than the fields of this kind of request.
    arguments : Out
        The fields, as far as there are any.
    data : Out(stream)
        What comes behind the fields, and then zeros without end.
    more : Out
        `data` are not those zeros yet.
    finish : In
        The request is done.
    busy : Out
        The payload of a request is not done with.
    """

    def __init__(self, link: LinkConfig):
        self.link = link
        super().__init__(
            {
                "i": In(stream.Signature(8)),
                "session": In(_FIELDS["session"][1]),
                "valid": Out(1),
                "kind": Out(_FIELDS["kind"][1]),
                "number": Out(_FIELDS["sequence"][1]),
                "known": Out(1),
                "in_session": Out(1),
                "short": Out(1),
                "arguments": Out(8 * _ARGUMENT_BYTES),
                "data": Out(stream.Signature(8)),
                "more": Out(1),
                "finish": In(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        place = Signal(range(max(HEADER_BYTES, _ARGUMENT_BYTES) + 1))
        wanted = Signal.like(place)  # bytes of fields
        left = Signal(range(max_payload(self.link.frame_bytes) + 1))
        m.d.comb += self.more.eq(left.any())
        m.d.sync += self.known.eq(0)
        with m.Switch(self.kind):
            for request, fields in ARGUMENTS.items():
                with m.Case(request):
                    m.d.sync += [self.known.eq(1), wanted.eq(byte_width(fields))]
            with m.Default():
                m.d.sync += wanted.eq(0)

        with m.FSM() as reading:
            m.d.comb += self.busy.eq(~reading.ongoing("HEADER"))
            with m.State("HEADER"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    self._header(m, place, left)
                    m.d.sync += place.eq(place + 1)
                    with m.If(place == HEADER_BYTES - 1):
                        m.d.sync += place.eq(0)
                        m.next = "FIELDS"
            with m.State("FIELDS"):
                wants = place != wanted
                m.d.comb += self.i.ready.eq(wants & self.more)
                with m.If(wants & self.more & self.i.valid):
                    m.d.sync += [place.eq(place + 1), left.eq(left - 1)]
                    for n in range(_ARGUMENT_BYTES):
                        with m.If(place == n):
                            m.d.sync += self.arguments.word_select(n, 8).eq(self.i.payload)
                with m.If(~wants | ~self.more):
                    m.d.sync += self.short.eq(wants)
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += [
                    self.valid.eq(1),
                    self.data.valid.eq(~self.more | self.i.valid),
                    self.data.payload.eq(Mux(self.more, self.i.payload, 0)),
                    self.i.ready.eq(self.more & self.data.ready),
                ]
                with m.If(self.i.ready & self.i.valid):
                    m.d.sync += left.eq(left - 1)
                with m.If(self.finish):
                    m.next = "REST"
            with m.State("REST"):
                m.d.comb += self.i.ready.eq(self.more)
                with m.If(self.i.ready & self.i.valid):
                    m.d.sync += left.eq(left - 1)
                with m.If(~self.more):
                    m.d.sync += place.eq(0)
                    m.next = "HEADER"
        return m

    def _header(self, m, place, left):
        """Take the byte of the header at `place`."""
        kept = {"kind": self.kind, "sequence": self.number, "length": left}
        for name, (bit, width) in _FIELDS.items():
            for n in range(width // 8):
                with m.If(place == bit // 8 + n):
                    if name in kept:
                        m.d.sync += kept[name][8 * n : 8 * n + 8].eq(self.i.payload)
                    else:
                        same = self.session.word_select(n, 8) == self.i.payload
                        m.d.sync += self.in_session.eq(same & (self.in_session | (n == 0)))
