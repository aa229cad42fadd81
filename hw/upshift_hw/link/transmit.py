"""From answers to frames: the check is appended and the whole is stuffed."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from upshift.link.frames import CHECK_BYTES
from upshift_hw.link.checksum import Checksum
from upshift_hw.link.cobs import FRAME_BYTE, CobsEncoder


class FrameTransmitter(wiring.Component):
    """Append a CRC-32 to each frame, stuff it and end it with a zero.

    Two clocks per byte.

    Members
    -------
    i : In(stream)
        Header and payload of frames, the last byte of each marked.
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
        m.submodules.checksum = checksum = Checksum()
        m.submodules.encoder = encoder = CobsEncoder()
        wiring.connect(m, encoder.o, wiring.flipped(self.o))

        checking = Signal()
        place = Signal(range(CHECK_BYTES))
        last_place = place == CHECK_BYTES - 1
        m.d.comb += [
            encoder.i.payload.last.eq(checking & last_place),
            self.busy.eq(checking | encoder.busy),
            checksum.i.payload.eq(self.i.payload.byte),
        ]
        with m.If(checking):
            m.d.comb += [
                encoder.i.payload.byte.eq(checksum.value.word_select(place, 8)),
                encoder.i.valid.eq(1),
            ]
            with m.If(encoder.i.ready):
                m.d.comb += checksum.restart.eq(last_place)
                m.d.sync += [place.eq(place + 1), checking.eq(~last_place)]
        with m.Else():
            # The second half of a byte waits until the encoder takes it.
            halves = ~checksum.i.ready | encoder.i.ready
            m.d.comb += [
                encoder.i.payload.byte.eq(self.i.payload.byte),
                encoder.i.valid.eq(self.i.valid & checksum.i.ready),
                checksum.i.valid.eq(self.i.valid & halves),
                self.i.ready.eq(checksum.i.ready & encoder.i.ready),
            ]
            with m.If(self.i.valid & self.i.ready):
                m.d.sync += checking.eq(self.i.payload.last)
        return m
