"""The serial line: bits of eight data bits, no parity, one stop bit, to bytes and back.

Bit lengths are counted in fractions of a clock, so that a line may be as fast as a quarter of the
clock without its rate being far off.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import cdc, stream, wiring
from amaranth.lib.wiring import In, Out

from upshift.link.config import PERIOD_STEPS, LinkConfig

_DATA_BITS = 8
_TICKS = 4  # per bit, in the receiver


class UartReceiver(wiring.Component):
    """Receive bytes from a serial line.

    Each bit is looked at three times, at a quarter, a half and three quarters of its length, and
    the majority counts; a start bit that fails is forgotten. The stop bit is looked at once, in
    its middle, because the next start bit may come early. With n clocks per bit, senders may be
    off by ``(1/2 - 1/n) / 9.5`` of the rate: 2.6 % at 4 clocks, 4.6 % at 16.

    Latency 2 clocks of synchronization and 9.5 bits.

    Parameters
    ----------
    link : LinkConfig

    Members
    -------
    rx : In
        The line, not yet synchronized.
    o : Out(stream)
        Bytes, which must be taken at once.
    error : Out
        A byte was dropped in this clock because its stop bit was low.
    busy : Out
        A byte is being received.
    """

    def __init__(self, link: LinkConfig):
        self.link = link
        super().__init__(
            {
                "rx": In(1, init=1),
                "o": Out(stream.Signature(_DATA_BITS, always_ready=True)),
                "error": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        line, earlier = Signal(init=1), Signal(init=1)
        m.submodules.synchronizer = cdc.FFSynchronizer(self.rx, line, init=1)
        m.d.sync += earlier.eq(line)

        # Time until the next look, in steps of a clock / (_TICKS * PERIOD_STEPS).
        clock, tick_length = _TICKS * PERIOD_STEPS, self.link.period
        left = Signal(range(tick_length + clock))
        tick = Signal()
        m.d.comb += tick.eq(left < clock)
        m.d.sync += left.eq(left + Mux(tick, tick_length - clock, -clock))

        looks = Signal(2)
        quarter = Signal(range(_TICKS))
        place = Signal(range(1 + _DATA_BITS + 1))  # bit of the byte
        data = Signal(_DATA_BITS)
        majority = Signal()
        m.d.comb += [
            majority.eq((looks[0] & looks[1]) | (line & (looks[0] | looks[1]))),
            self.o.payload.eq(data),
        ]
        with m.If(~self.busy):
            m.d.sync += [
                self.busy.eq(earlier & ~line),
                left.eq(tick_length - clock),
                quarter.eq(0),
                place.eq(0),
            ]
        with m.Elif(tick):
            m.d.sync += [looks.eq(Cat(line, looks)), quarter.eq(quarter + 1)]
            with m.If((quarter == 1) & (place == 1 + _DATA_BITS)):
                m.d.comb += [self.o.valid.eq(line), self.error.eq(~line)]
                m.d.sync += self.busy.eq(0)
            with m.If(quarter == 2):
                m.d.sync += data.eq(Cat(data[1:], majority))
                with m.If((place == 0) & majority):
                    m.d.sync += self.busy.eq(0)
            with m.If(quarter == 3):
                m.d.sync += place.eq(place + 1)
        return m


class UartTransmitter(wiring.Component):
    """Send bytes over a serial line, without a gap where they come in time.

    Parameters
    ----------
    link : LinkConfig

    Members
    -------
    i : In(stream)
        Bytes; one is taken every ten bits.
    tx : Out
        The line.
    busy : Out
        The line is not idle yet.
    """

    def __init__(self, link: LinkConfig):
        self.link = link
        super().__init__(
            {
                "i": In(stream.Signature(_DATA_BITS)),
                "tx": Out(1, init=1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        left = Signal(range(self.link.period + PERIOD_STEPS))  # time until the bit ends
        bits_left = Signal(range(1 + _DATA_BITS + 1))
        data = Signal(_DATA_BITS + 1)
        ends = Signal()
        m.d.comb += [
            ends.eq(left < PERIOD_STEPS),
            self.busy.eq(~ends | bits_left.any()),
            self.i.ready.eq(~self.busy),
        ]
        with m.If(~ends):
            m.d.sync += left.eq(left - PERIOD_STEPS)
        with m.Elif(bits_left.any()):
            m.d.sync += [
                left.eq(left + self.link.period - PERIOD_STEPS),
                bits_left.eq(bits_left - 1),
                Cat(self.tx, data).eq(data),
            ]
        with m.Elif(self.i.valid):
            m.d.sync += [
                left.eq(left + self.link.period - PERIOD_STEPS),
                bits_left.eq(1 + _DATA_BITS),
                Cat(self.tx, data).eq(Cat(0, self.i.payload, 1)),
            ]
        return m
