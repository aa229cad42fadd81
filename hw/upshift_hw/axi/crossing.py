"""From one clock to another: a queue for streams, a mailbox for rare messages.

Both sides of a crossing must have been in reset at the same time before either is used, and
neither may be reset alone while the other runs: `upshift_hw.axi.reset` sees to that.
"""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out


class StreamCrossing(wiring.Component):
    """A queue that is filled with one clock and emptied with another.

    Each side counts its payloads and shows the count to the other in Gray code, of which one bit
    changes at a time, so that a count that is looked at while it changes is the old or the new
    one. Sixteen places cover the way there and back: the slower clock sets the pace, one payload
    per clock.

    Parameters
    ----------
    shape : ShapeLike
        Of the payload.
    i_domain, o_domain : str
        Clocks of the two sides.
    depth : int
        Payloads held, a power of two.

    Members
    -------
    i : In(stream)
    o : Out(stream)
    """

    def __init__(self, shape, *, i_domain: str, o_domain: str, depth: int = 16):
        if depth < 4 or depth & (depth - 1):
            raise ValueError(f"depth {depth} is not allowed: a power of two, 4 or more")
        self.depth = depth
        self._shape = shape
        self._domains = i_domain, o_domain
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        i_domain, o_domain = self._domains
        bits = self.depth.bit_length() - 1
        written = Signal(bits + 1)
        written_next = Signal(bits + 1)
        taken = Signal(bits + 1)
        taken_next = Signal(bits + 1)
        # The counts as the other side may see them, and as it does see them.
        written_gray = Signal(bits + 1)
        written_seen = Signal(bits + 1)
        taken_gray = Signal(bits + 1)
        taken_seen = Signal(bits + 1)
        m.submodules.written_sync = FFSynchronizer(written_gray, written_seen, o_domain=o_domain)
        m.submodules.taken_sync = FFSynchronizer(taken_gray, taken_seen, o_domain=i_domain)
        m.d.comb += [
            # In Gray code two counts that are `depth` apart differ in the two uppermost bits.
            self.i.ready.eq(written_gray != taken_seen ^ (0b11 << (bits - 1))),
            self.o.valid.eq(taken_gray != written_seen),
            written_next.eq(written + (self.i.valid & self.i.ready)),
            taken_next.eq(taken + (self.o.valid & self.o.ready)),
        ]
        m.d[i_domain] += [
            written.eq(written_next),
            written_gray.eq(written_next ^ (written_next >> 1)),
        ]
        m.d[o_domain] += [taken.eq(taken_next), taken_gray.eq(taken_next ^ (taken_next >> 1))]

        m.submodules.storage = storage = Memory(shape=self._shape, depth=self.depth, init=[])
        write = storage.write_port(domain=i_domain)
        read = storage.read_port(domain=o_domain)
        m.d.comb += [
            write.addr.eq(written[:bits]),
            write.data.eq(self.i.payload),
            write.en.eq(self.i.valid & self.i.ready),
            read.addr.eq(taken_next[:bits]),
            read.en.eq(1),
            self.o.payload.eq(read.data),
        ]
        return m


class Mailbox(wiring.Component):
    """Carry one payload at a time from one clock to another.

    Parameters
    ----------
    shape : ShapeLike
        Of the payload.
    i_domain, o_domain : str
        Clocks of the two sides.

    Members
    -------
    i : In(stream)
        Ready when the payload before has been taken.
    o : Out(stream)
    """

    def __init__(self, shape, *, i_domain: str, o_domain: str):
        self._domains = i_domain, o_domain
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        i_domain, o_domain = self._domains
        held = Signal.like(self.i.payload)  # stays until it has been taken
        # These toggle with each payload.
        sent = Signal()
        sent_seen = Signal()
        taken = Signal()
        taken_seen = Signal()
        m.submodules.sent_sync = FFSynchronizer(sent, sent_seen, o_domain=o_domain)
        m.submodules.taken_sync = FFSynchronizer(taken, taken_seen, o_domain=i_domain)
        m.d.comb += [
            self.i.ready.eq(sent == taken_seen),
            self.o.valid.eq(taken != sent_seen),
            self.o.payload.eq(held),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d[i_domain] += [held.eq(self.i.payload), sent.eq(~sent)]
        with m.If(self.o.valid & self.o.ready):
            m.d[o_domain] += taken.eq(~taken)
        return m
