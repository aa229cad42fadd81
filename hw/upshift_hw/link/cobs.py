"""Consistent overhead byte stuffing, byte by byte; `upshift.link.cobs` is the same in software."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from upshift.link.cobs import DELIMITER, LONGEST_RUN
from upshift_hw.link.buffer import ByteBuffer

_FULL = LONGEST_RUN + 1  # the code of a run without a zero behind it
_END = DELIMITER[0]


FRAME_BYTE = data.StructLayout({"byte": 8, "last": 1})
"""A byte of a frame, and whether it is the last one."""


class CobsDecoder(wiring.Component):
    """Take stuffing out of frames.

    One byte per clock, without latency.

    Members
    -------
    i : In(stream)
        Stuffed bytes, frames ended by zeros.
    error : In
        A byte was lost; the frame it belonged to cannot be right any more.
    o : Out(stream)
        The bytes of a frame.
    ends : Out
        A frame ends in this clock, and no byte of it comes any more. Zeros in a row end nothing.
    whole : Out
        The frame that ends was stuffed correctly.
    busy : Out
        A frame has begun and not ended.
    """

    def __init__(self):
        super().__init__(
            {
                "i": In(stream.Signature(8, always_ready=True)),
                "error": In(1),
                "o": Out(stream.Signature(8, always_ready=True)),
                "ends": Out(1),
                "whole": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        run_left = Signal(8)
        zero_due = Signal()  # when another code comes
        damaged = Signal()
        in_run = run_left.any()
        m.d.comb += [
            self.o.payload.eq(Mux(in_run, self.i.payload, 0)),
            self.whole.eq(~in_run & ~damaged),
        ]
        with m.If(self.error):
            m.d.sync += damaged.eq(self.busy)
        with m.If(self.i.valid):
            with m.If(self.i.payload == _END):
                m.d.comb += self.ends.eq(self.busy)
                m.d.sync += [self.busy.eq(0), run_left.eq(0), zero_due.eq(0), damaged.eq(0)]
            with m.Elif(in_run):
                m.d.comb += self.o.valid.eq(1)
                m.d.sync += run_left.eq(run_left - 1)
            with m.Else():
                m.d.comb += self.o.valid.eq(zero_due)
                m.d.sync += [
                    self.busy.eq(1),
                    run_left.eq(self.i.payload - 1),
                    zero_due.eq(self.i.payload != _FULL),
                ]
        return m


class CobsEncoder(wiring.Component):
    """Stuff frames and end each with a zero.

    Bytes wait in a memory of two runs until the code before them is known, so that one run can
    leave while the next is gathered. One byte per clock; two clocks more per frame and one more
    per full run.

    Members
    -------
    i : In(stream)
        Bytes, the last of a frame marked. A frame has one byte at least.
    o : Out(stream)
        Stuffed bytes.
    busy : Out
        Something of a frame that was taken whole is still to leave.
    """

    def __init__(self):
        super().__init__(
            {
                "i": In(stream.Signature(FRAME_BYTE)),
                "o": Out(stream.Signature(8)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.runs = runs = ByteBuffer(2 * (_FULL + 1))

        # Bytes from `taken` to `start` may leave. `start` is the place of the code of the run
        # that is gathered, or of the delimiter; `place` is that of the next byte in it.
        taken, start = Signal.like(runs.read_place), Signal.like(runs.read_place)
        place = Signal.like(runs.write_place, init=1)
        next_taken, free = Signal.like(taken), Signal.like(place)
        code = Signal(8, init=1)
        room, close, closed = Signal(), Signal(), Signal()
        m.d.comb += [
            next_taken.eq(taken + (self.o.valid & self.o.ready)),
            free.eq(taken - place),
            runs.write_byte.eq(Mux(close, code, self.i.payload.byte)),
            runs.write_place.eq(Mux(close, start, place)),
            runs.read_place.eq(next_taken),
            self.o.payload.eq(runs.read_byte),
        ]
        m.d.sync += [
            taken.eq(next_taken),
            self.o.valid.eq(next_taken != start),
            closed.eq(close),
            room.eq(free > 3),  # a clock late
        ]
        with m.If(close):
            m.d.comb += runs.write_enable.eq(1)
            m.d.sync += [start.eq(place), place.eq(place + 1), code.eq(1)]

        with m.FSM() as gathering:
            with m.State("GATHER"):
                m.d.comb += self.i.ready.eq(room)
                with m.If(self.i.valid & room):
                    with m.If(self.i.payload.byte == 0):
                        m.d.comb += close.eq(1)
                    with m.Else():
                        m.d.comb += runs.write_enable.eq(1)
                        m.d.sync += [place.eq(place + 1), code.eq(code + 1)]
                        with m.If(code == LONGEST_RUN):
                            m.next = "CLOSE"
                    with m.If(self.i.payload.last):
                        m.next = "CLOSE LAST"
            with m.State("CLOSE"), m.If(room):
                m.d.comb += close.eq(1)
                m.next = "GATHER"
            with m.State("CLOSE LAST"), m.If(room):
                m.d.comb += close.eq(1)
                m.d.sync += code.eq(_END)
                m.next = "END"
            with m.State("END"), m.If(room):
                m.d.comb += close.eq(1)
                m.next = "GATHER"

        m.d.comb += self.busy.eq(~gathering.ongoing("GATHER") | closed | self.o.valid)
        return m
