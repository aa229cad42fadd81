"""The CRC-32 of bytes that leave, half a byte at a time."""

from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out


class Checksum(wiring.Component):
    """Compute the CRC-32 of bytes.

    Two clocks per byte, for half the logic of one.

    Members
    -------
    restart : In
        Begin anew.
    i : In(stream)
        Bytes.
    value : Out
        CRC-32 of those that were taken.
    """

    def __init__(self):
        super().__init__({"restart": In(1), "i": In(stream.Signature(8)), "value": Out(32)})

    def elaborate(self, platform):
        m = Module()
        crc, high = CRC32_ISO_HDLC(data_width=4).create(), Signal()
        m.submodules.crc = ResetInserter(self.restart)(crc)
        m.d.comb += [
            crc.data.eq(self.i.payload.word_select(high, 4)),
            crc.valid.eq(self.i.valid),
            self.i.ready.eq(high),
            self.value.eq(crc.crc),
        ]
        with m.If(self.i.valid):
            m.d.sync += high.eq(~high)
        return m
