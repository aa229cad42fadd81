"""Cuts a stream in two, so that no path leads through it."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


class StreamCut(wiring.Component):
    """Pass a stream on through registers, in both directions.

    One payload per clock, one clock later.

    Parameters
    ----------
    shape : ShapeLike
        Of the payload.

    Members
    -------
    i : In(stream)
    o : Out(stream)
    """

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        spare = Signal.like(self.i.payload)
        waiting = Signal()  # `spare` holds what came in the clock in which `o` was not taken
        m.d.comb += self.i.ready.eq(~waiting)
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [
                self.o.payload.eq(self.i.payload),
                self.o.valid.eq(self.i.valid | waiting),
                waiting.eq(0),
            ]
            with m.If(waiting):
                m.d.sync += self.o.payload.eq(spare)
        with m.Elif(self.i.valid & ~waiting):
            m.d.sync += [spare.eq(self.i.payload), waiting.eq(1)]
        return m
