"""A memory of bytes, as block RAM."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2


class ByteBuffer(wiring.Component):
    """Hold bytes; write one and read one per clock.

    A byte that is read in the clock in which it is written may be the old one or the new one.

    Parameters
    ----------
    depth : int
        Bytes held.
    init : bytes
        The first of them after configuration; the others are zero.

    Members
    -------
    write_enable, write_place, write_byte : In
        Write a byte.
    read_place : In
        Byte to read.
    read_byte : Out
        That byte, one clock later.
    """

    def __init__(self, depth: int, *, init: bytes = b""):
        self.depth = depth
        self.init = init
        place = ceil_log2(depth)
        super().__init__(
            {
                "write_enable": In(1),
                "write_place": In(place),
                "write_byte": In(8),
                "read_place": In(place),
                "read_byte": Out(8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # A port of Amaranth's that is clocked reads the old byte. Where RAMs do not promise that,
        # Yosys would build it around them; the attribute tells it not to.
        m.submodules.memory = memory = Memory(
            shape=8, depth=self.depth, init=self.init, attrs={"no_rw_check": 1}
        )
        write, read = memory.write_port(), memory.read_port(domain="comb")
        read_byte = Signal(8, reset_less=True)  # block RAMs have none
        m.d.comb += [
            write.en.eq(self.write_enable),
            write.addr.eq(self.write_place),
            write.data.eq(self.write_byte),
            read.addr.eq(self.read_place),
            self.read_byte.eq(read_byte),
        ]
        m.d.sync += read_byte.eq(read.data)
        return m
