"""Rows on their way out of a pipeline that never stalls.

Each beat reserves the place of its row before it starts, so that a row always has one when it
leaves the datapath, however long nobody takes any.
"""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from upshift_hw.delay import later


class RowQueue(wiring.Component):
    """Take one row per clock, a fixed time after its place was reserved, and queue it.

    A row is offered `RowQueue.latency` clocks after it came, if none is before it. One row per
    clock passes through while `delay` is at most ``slots - 5`` and rows are taken as they come.

    Parameters
    ----------
    shape : ShapeLike
        Of a row.
    delay : int
        Clocks from `start` to its `row`, 1 or more.
    slots : int
        Rows that may be under way or waiting, a power of two.

    Members
    -------
    room : Out
        A beat whose row will come may start.
    start : In
        It starts; only while `room`.
    row : In
        `delay` clocks after `start`: its row.
    empty : Out
        No row is under way or waiting; some clocks late.
    o : Out(stream)
        Rows, in order.
    """

    latency = 2

    def __init__(self, shape, *, delay: int, slots: int = 16):
        self.delay = delay
        self.slots = slots
        super().__init__(
            {
                "room": Out(1),
                "start": In(1),
                "row": In(shape),
                "empty": Out(1),
                "o": Out(stream.Signature(shape)),
            }
        )

    def elaborate(self, platform):
        m = Module()

        # `room` is decided from registers alone, so it knows nothing of the last two starts and
        # leaves places for them; rows that left are counted a clock late.
        reserved = Signal(range(self.slots + 1))
        started, left, room = Signal(), Signal(), Signal(init=1)
        m.d.sync += [
            started.eq(self.start),
            left.eq(self.o.valid & self.o.ready),
            room.eq(reserved < self.slots - 2),
        ]
        _count(m, reserved, up=started, down=left)
        m.d.comb += [
            self.room.eq(room),
            self.empty.eq((reserved == 0) & ~started),
        ]

        # A row is read from the memory in a later clock than it was written, and a place is
        # written again only after its row has left: the two ports never meet.
        m.submodules.places = places = Memory(shape=self.row.shape(), depth=self.slots, init=[])
        write = places.write_port()
        read = places.read_port()
        waiting = Signal(range(self.slots + 1))
        some = Signal()  # waiting.any(), early enough for a short path
        m.d.comb += [
            write.en.eq(later(m, started, self.delay - 1, "started")),
            write.data.eq(self.row),
            read.en.eq(some & (~self.o.valid | self.o.ready)),
            self.o.payload.eq(read.data),
        ]
        _count(m, waiting, up=write.en, down=read.en)
        m.d.sync += [
            write.addr.eq(write.addr + write.en),
            read.addr.eq(read.addr + read.en),
            some.eq(write.en | (some & ~(read.en & (waiting == 1)))),
            self.o.valid.eq(read.en | (self.o.valid & ~self.o.ready)),
        ]
        return m


def _count(m, counter, *, up, down):
    """Count up, down, or not at all; both sums are ready before it is known which."""
    with m.If(up & ~down):
        m.d.sync += counter.eq(counter + 1)
    with m.Elif(down & ~up):
        m.d.sync += counter.eq(counter - 1)
