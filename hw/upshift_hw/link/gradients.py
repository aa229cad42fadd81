"""Turns the data of an UPDATE into the beats that the unit takes."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from upshift.config import UnitConfig
from upshift.words import word_bytes
from upshift_hw.shapes import shape_of


class GradientDecoder(wiring.Component):
    """Gather words into beats, all of them or those that a mask names.

    One byte per clock, and a clock more for beats that begin with a word or a mask of one byte. A
    beat is offered the clock after its last byte, and the next one is gathered while it is taken.
    How many beats a burst has is for the unit to say: the decoder goes on until it is switched off.

    Parameters
    ----------
    config : UnitConfig

    Members
    -------
    enable : In
        A burst is in progress. While low, all of the one before is forgotten.
    first_lane : In
        Lane of the burst's first gradient.
    masked : In
        Each beat begins with a mask.
    i : In(stream)
        Bytes.
    o : Out(stream)
        Beats; lanes outside the burst may be anything.
    """

    def __init__(self, config: UnitConfig):
        self.config = config
        beat = data.ArrayLayout(shape_of(config.gradient), config.lanes)
        super().__init__(
            {
                "enable": In(1),
                "first_lane": In(range(config.lanes)),
                "masked": In(1),
                "i": In(stream.Signature(8)),
                "o": Out(stream.Signature(beat)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lanes, width = self.config.lanes, self.config.gradient.width
        size, mask_bytes = word_bytes(width), word_bytes(lanes)
        every_lane = Const((1 << lanes) - 1, lanes)

        place = Signal(range(max(size, mask_bytes)))  # byte of the word or mask
        in_mask = Signal()
        earlier = Signal(8 * (max(size, mask_bytes) - 1))  # bytes before this one
        gathered = Cat(earlier, self.i.payload)
        word, mask = gathered[-8 * size :][:width], gathered[-8 * mask_bytes :][:lanes]
        waiting = Signal(lanes)  # lanes whose words are to come
        rest = Signal(lanes)
        ends, completes, left = Signal(), Signal(), Signal()
        m.d.comb += [
            # Whether the beat before is taken in this clock is known too late to wait for it.
            self.i.ready.eq(self.enable & ~(self.o.valid & ends)),
            left.eq(self.o.valid & self.o.ready),
            ends.eq(place == Mux(in_mask, mask_bytes, size) - 1),
            rest.eq(Mux(in_mask, mask, waiting & (waiting - 1))),
            completes.eq(self.i.valid & self.i.ready & ends & ~rest.any()),
        ]
        with m.If(~self.enable):
            m.d.sync += [
                place.eq(0),
                in_mask.eq(self.masked),
                waiting.eq(every_lane << self.first_lane),
                self.o.valid.eq(0),
            ]
        with m.Else():
            with m.If(self.i.valid & self.i.ready):
                m.d.sync += [place.eq(Mux(ends, 0, place + 1)), earlier.eq(gathered[8:])]
                with m.If(ends):
                    m.d.sync += [
                        waiting.eq(Mux(completes, every_lane, rest)),
                        in_mask.eq(completes & self.masked),
                    ]
            m.d.sync += self.o.valid.eq(completes | (self.o.valid & ~left))

        lowest = waiting & ~(waiting - 1)
        writes = self.i.valid & self.i.ready & ends & ~in_mask
        for lane in range(lanes):
            with m.If(writes & lowest[lane]):
                m.d.sync += self.o.payload[lane].eq(word)
            with m.Elif(left | ~self.enable):
                m.d.sync += self.o.payload[lane].eq(0)
        return m
