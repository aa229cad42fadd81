"""Rows on their way out of a pipeline that never stalls.

Each beat reserves the place of its row before it starts, so that a row always has one when it
leaves the datapath, however long nobody takes any. Rows wait in block RAM, where places cost
nothing. There are more than are needed, so that the room that is left may be told late, from
registers alone.
"""

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from upshift_hw.delay import later
from upshift_hw.memory import Ram
from upshift_hw.ring import Places, Reader, Words


class RowQueue(wiring.Component):
    """Take one row per clock, a fixed time after its place was reserved, and queue it.

    A row is offered `RowQueue.latency` clocks after it came, if none is before it. One row per
    clock passes through while rows are taken as they come.

    Parameters
    ----------
    shape : ShapeLike
        Of a row.
    delay : int
        Clocks from `start` to its `row`, 1 or more.
    ram : {"inferred", "dp16kd"}, optional
        How the queue is made. Left out, the platform decides.

    Attributes
    ----------
    quarter : int
        A quarter of the places, more than `delay`. `room` becomes low when more are in use, at
        the latest when twice as many are. Two more rows may have been read.
    lag : int
        Clocks from a start to `room` that knows of it.
    margin : int
        Clocks in which beats may start though `room` is low, counted from when it was not.

    Members
    -------
    room : Out
        A beat whose row will come may start. A register.
    start : In
        It starts.
    row : In
        `delay` clocks after `start`: its row.
    empty : Out
        No row is under way or waiting; some clocks late.
    o : Out(stream)
        Rows, in order.
    """

    latency = Reader.latency
    lag = 3  # clocks of `starts`, of the place, of `room`

    def __init__(self, shape, *, delay: int, ram: Ram | None = None):
        self.delay = delay
        # A place is in use from the clock after a start to the third after its row came.
        self._places = Places(delay + 1)
        self.quarter = self._places.quarter
        # What starts must not leave the quarter in which `room` became low.
        self.margin = self.quarter - self.lag
        self._ram = ram
        super().__init__(
            {
                "room": Out(1, init=1),
                "start": In(1),
                "row": In(shape),
                "empty": Out(1, init=1),
                "o": Out(stream.Signature(shape)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        places = self._places
        started, completed = places.first("started"), places.first("completed")
        starts, complete = Signal(), Signal()
        m.submodules.reader = reader = Reader(places)
        width = len(Value.cast(self.row))
        m.submodules.words = words = Words(width=width, places=places.bits, ram=self._ram)
        for event, place in ((starts, started), (complete, completed)):
            with m.If(event):
                m.d.sync += place.eq(places.after(place))
        m.d.comb += [
            complete.eq(later(m, starts, self.delay - 1, "started")),
            words.write.eq(complete),
            words.write_place.eq(completed),
            words.write_word.eq(self.row),
            words.place.eq(reader.place),
            words.advance.eq(reader.advance),
            reader.written.eq(completed),
            reader.ready.eq(self.o.ready),
            self.o.valid.eq(reader.valid),
            self.o.payload.eq(words.word),
        ]
        m.d.sync += [
            starts.eq(self.start),
            # With at most a quarter of the places in use, both are in one or in neighbours.
            self.room.eq(~places.opposite(started, reader.place)),
            self.empty.eq((started == reader.place) & ~reader.holds),
        ]
        return m
