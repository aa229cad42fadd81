"""The bus ends of the streams: what they do with packets that a reset cuts in two.

Both run in the clock and reset of the bus, and outlive a reset of everything behind them.
"""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from upshift_hw.axi import signatures
from upshift_hw.axi.framing import packet_layout


class StreamIn(wiring.Component):
    """Take an AXI4-Stream, and throw away the rest of a packet whose beginning a reset has lost.

    Parameters
    ----------
    size : int
        Bytes of a beat.

    Members
    -------
    axis : In(AXI4-Stream)
    o : Out(stream)
    running : In
        No reset is in progress; without it nothing is taken.
    reset : In
        A reset starts in this clock.
    drain : In
        With `reset`: the source was not reset, and will go on with the packet that it is in.
    draining : Out
        The rest of a packet is being thrown away.
    """

    def __init__(self, size: int):
        super().__init__(
            {
                "axis": In(signatures.stream(size)),
                "o": Out(stream.Signature(packet_layout(8 * size))),
                "running": In(1),
                "reset": In(1),
                "drain": In(1),
                "draining": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        axis = self.axis
        begun = Signal()  # a packet, and not ended
        begun_next = Signal()
        m.d.comb += [
            self.o.payload.data.eq(axis.tdata),
            self.o.payload.last.eq(axis.tlast),
            self.o.valid.eq(axis.tvalid & self.running & ~self.draining),
            axis.tready.eq(self.draining | (self.running & self.o.ready)),
            begun_next.eq(begun),
        ]
        with m.If(axis.tvalid & axis.tready):
            m.d.comb += begun_next.eq(~axis.tlast)
        m.d.sync += begun.eq(begun_next)
        with m.If(self.reset):
            m.d.sync += [self.draining.eq(self.drain & begun_next), begun.eq(0)]
            with m.If(self.drain):
                m.d.sync += begun.eq(begun_next)
        with m.Elif(~begun_next):
            m.d.sync += self.draining.eq(0)
        return m


class StreamOut(wiring.Component):
    """Offer beats as an AXI4-Stream; what is offered stays until it is taken.

    Parameters
    ----------
    shape : StructLayout
        Of a beat: ``data``, ``last``, and ``user`` if there is a TUSER.

    Members
    -------
    i : In(stream)
    axis : Out(AXI4-Stream)
    running : In
        No reset is in progress; without it nothing new is offered.
    """

    def __init__(self, shape: data.StructLayout):
        widths = {name: field.width for name, field in shape}
        axis = signatures.stream(widths["data"] // 8, user=widths.get("user", 0))
        super().__init__({"i": In(stream.Signature(shape)), "axis": Out(axis), "running": In(1)})

    def elaborate(self, platform):
        m = Module()
        axis = self.axis
        free = ~axis.tvalid | axis.tready
        m.d.comb += self.i.ready.eq(self.running & free)
        with m.If(free):
            m.d.sync += axis.tvalid.eq(self.i.valid & self.running)
            m.d.sync += [
                getattr(axis, f"t{name}").eq(self.i.payload[name])
                for name, _ in self.i.payload.shape()
            ]
        return m
