"""From stuffed bytes to frames that are whole: what is not is dropped before anyone acts on it."""

from amaranth.hdl import Cat, Module, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.link.config import LinkConfig
from upshift.link.frames import ANSWERS, CHECK_BYTES, HEADER, HEADER_BYTES, Answer, max_payload
from upshift_hw.link.buffer import ByteBuffer
from upshift_hw.link.cobs import CobsDecoder

_PLACES = {field.name: bit // 8 for bit, field in layout.places(HEADER)}
_WIDTHS = {field.name: field.width for field in HEADER}
_COUNTERS = {field.name: field.width for field in ANSWERS[Answer.STATUS]}


class FrameReceiver(wiring.Component):
    """Buffer frames whose check and length are right, and count all.

    Bytes go into a ring of two frames as they come, behind what was received whole; the end of a
    frame either makes them valid or gives their room back. So a frame that does not fit, or is
    longer than a frame may be, is dropped like one that is damaged.

    One byte per clock. The first byte of a frame is offered two clocks after the zero that ends
    it.

    Parameters
    ----------
    link : LinkConfig

    Members
    -------
    i : In(stream)
        Stuffed bytes.
    error : In
        A byte was lost before the next one.
    o : Out(stream)
        Header and payload of frames, one after the other.
    frames, rejected : Out
        Frames received whole, frames dropped.
    busy : Out
        A frame has begun and not ended, or some byte waits.
    working : Out
        There is work for more clocks even if no byte comes.
    """

    def __init__(self, link: LinkConfig):
        self.link = link
        super().__init__(
            {
                "i": In(stream.Signature(8, always_ready=True)),
                "error": In(1),
                "o": Out(stream.Signature(8)),
                "frames": Out(_COUNTERS["frames"]),
                "rejected": Out(_COUNTERS["rejected"]),
                "busy": Out(1),
                "working": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.decoder = decoder = CobsDecoder()
        m.submodules.ring = ring = ByteBuffer(2 * self.link.frame_bytes)
        crc = CRC32_ISO_HDLC(data_width=8).create()
        m.submodules.crc = ResetInserter(decoder.ends)(crc)
        wiring.connect(m, wiring.flipped(self.i), decoder.i)

        # Places in the ring, with one bit more, to tell a full ring from an empty one.
        taken = Signal(len(ring.read_place) + 1)
        next_taken, valid_end, write_end = (Signal.like(taken) for _ in range(3))
        full, lost, ended = Signal(), Signal(), Signal()
        is_check, length_right = self._length(m, decoder)
        keep = decoder.o.valid & ~is_check
        m.d.comb += [
            decoder.error.eq(self.error),
            crc.data.eq(decoder.o.payload),
            crc.valid.eq(decoder.o.valid),
            full.eq((taken ^ write_end) == ring.depth),
            ring.write_place.eq(write_end),
            ring.write_byte.eq(decoder.o.payload),
            ring.write_enable.eq(keep & ~full),
        ]
        with m.If(ring.write_enable):
            m.d.sync += write_end.eq(write_end + 1)
        with m.If(keep & full):
            m.d.sync += lost.eq(1)
        with m.If(decoder.ends):
            m.d.sync += lost.eq(0)
            with m.If(decoder.whole & crc.match_detected & length_right & ~lost):
                m.d.sync += [self.frames.eq(self.frames + 1), valid_end.eq(write_end)]
            with m.Else():
                m.d.sync += [self.rejected.eq(self.rejected + 1), write_end.eq(valid_end)]

        m.d.comb += [
            next_taken.eq(taken + (self.o.valid & self.o.ready)),
            ring.read_place.eq(next_taken),
            self.o.payload.eq(ring.read_byte),
            self.working.eq(ended | self.o.valid),
            self.busy.eq(decoder.busy | self.working),
        ]
        m.d.sync += [
            taken.eq(next_taken),
            self.o.valid.eq(next_taken != valid_end),
            ended.eq(decoder.ends),
        ]
        return m

    def _length(self, m, decoder):
        """Return whether a byte is one of the check, and whether a frame may end now."""
        ends = HEADER_BYTES + CHECK_BYTES
        place = Signal(range(ends + 2))  # in the header, then in the check, then too far
        left = Signal(_WIDTHS["length"])  # bytes of payload
        too_long, is_check = Signal(), Signal()
        m.d.comb += is_check.eq((place >= HEADER_BYTES) & (left == 0))
        low = _PLACES["length"]
        with m.If(decoder.ends):
            m.d.sync += [place.eq(0), too_long.eq(0)]
        with m.Elif(decoder.o.valid):
            with m.If((place < HEADER_BYTES) | (is_check & (place <= ends))):
                m.d.sync += place.eq(place + 1)
            with m.If((place == low) | (place == low + 1)):
                m.d.sync += left.eq(Cat(left[8:], decoder.o.payload))
            with m.Elif((place >= HEADER_BYTES) & (left != 0)):
                m.d.sync += left.eq(left - 1)
            with m.If((place == HEADER_BYTES - 1) & (left > max_payload(self.link.frame_bytes))):
                m.d.sync += too_long.eq(1)
        return is_check, (place == ends) & ~too_long
