"""Weights as bytes: written from a stream, and read into one."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig
from upshift.words import word_bytes
from upshift_hw.shapes import layout_of, shape_of


class WeightStreamer(wiring.Component):
    """Write or read weights one after the other.

    One byte per clock when writing. Reading takes a clock more for each weight.

    Parameters
    ----------
    config : UnitConfig

    Members
    -------
    enable : In
        Go on; low for a clock before each run, and not within.
    write : In
        Write, not read.
    base, count : In
        First weight, number of weights; all in the memory, the same during a run.
    done : Out
        All were written, or read and taken.
    i : In(stream)
        Bytes to write.
    o : Out(stream)
        Bytes that were read.
    access : Out(stream)
        Accesses to the unit. It must take them at once, as it does while no burst is in progress.
    row : In(stream)
        Rows that the unit has read.
    """

    def __init__(self, config: UnitConfig):
        self.config = config
        fields = {field.name: field.width for field in layout.command(config)}
        row = data.ArrayLayout(shape_of(config.weight), config.lanes)
        super().__init__(
            {
                "enable": In(1),
                "write": In(1),
                "base": In(fields["base"]),
                "count": In(fields["count"]),
                "done": Out(1),
                "i": In(stream.Signature(8)),
                "o": Out(stream.Signature(8)),
                "access": Out(stream.Signature(layout_of(layout.access(config)))),
                "row": In(stream.Signature(row)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lanes, width = self.config.lanes, self.config.weight.width
        size = word_bytes(width)
        index, next_index = Signal.like(self.count), Signal.like(self.count)
        address = Signal.like(self.base)
        lane = address[: lanes.bit_length() - 1]
        place = Signal(range(size))  # byte of the word
        earlier = Signal(8 * (size - 1))  # bytes before this one
        gathered = Cat(earlier, self.i.payload)
        word = Signal(8 * size)
        ends, moves = Signal(), Signal()
        m.d.comb += [
            next_index.eq(index + 1),
            address.eq(self.base + index),
            ends.eq(place == size - 1),
            self.access.payload.row.eq(address[lanes.bit_length() - 1 :]),
            self.access.payload.write.eq(self.write),
            self.access.payload.mask.eq(1 << lane),
            self.access.payload.weights.eq(gathered[:width].replicate(lanes)),
            word.eq(Array(self.row.payload)[lane]),
            self.o.payload.eq(word.word_select(place, 8)),
        ]
        with m.If(self.enable & ~self.done):
            with m.If(self.write):
                m.d.comb += [
                    self.access.valid.eq(self.i.valid & ends),
                    self.i.ready.eq(~ends | self.access.ready),
                    moves.eq(self.i.valid & self.i.ready),
                ]
            with m.Else():
                m.d.comb += [
                    self.access.valid.eq(~self.row.valid),
                    self.o.valid.eq(self.row.valid),
                    moves.eq(self.o.valid & self.o.ready),
                    self.row.ready.eq(self.o.ready & ends),
                ]
        with m.If(moves):
            m.d.sync += [place.eq(Mux(ends, 0, place + 1)), earlier.eq(gathered[8:])]
            with m.If(ends):
                m.d.sync += [index.eq(next_index), self.done.eq(next_index == self.count)]
        with m.If(~self.enable):
            m.d.sync += [index.eq(0), place.eq(0), self.done.eq(self.count == 0)]
        return m
