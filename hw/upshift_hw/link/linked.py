"""The unit behind a link: bytes in, bytes out."""

from amaranth.hdl import Module, ResetInserter
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from upshift.config import UnitConfig
from upshift.formats import Raw
from upshift.link.config import LinkConfig, check_unit
from upshift_hw.cut import StreamCut
from upshift_hw.link.engine import LinkEngine
from upshift_hw.link.receive import FrameReceiver
from upshift_hw.link.transmit import FrameTransmitter
from upshift_hw.link.uart import UartReceiver, UartTransmitter
from upshift_hw.unit import UpdateUnit


class ByteLink(wiring.Component):
    """Serve a unit over any line that carries bytes (docs/link.md).

    Takes a byte per clock. Frames wait in a ring of two frames while others are executed; with
    frames of n bytes and short answers, the line may bring a byte every ``1 + 150 / n`` clocks for
    as long as it likes. An answer has a byte every three clocks.

    Parameters
    ----------
    config : UnitConfig
    link : LinkConfig
    init : ndarray of int64, shape (depth,), optional
        Raw weights at power-up.

    Members
    -------
    i : In(stream)
        Bytes from the host.
    error : In
        The line has lost a byte.
    o : Out(stream)
        Bytes to the host.
    busy : Out
        A frame is being received, executed or answered.
    working : Out
        There is work for more clocks even if no byte comes.

    Raises
    ------
    ValueError
        If such a unit cannot stand behind a link.
    """

    def __init__(self, config: UnitConfig, link: LinkConfig, init: Raw | None = None):
        check_unit(config)
        self.config = config
        self.link = link
        self._init = init
        super().__init__(
            {
                "i": In(stream.Signature(8, always_ready=True)),
                "error": In(1),
                "o": Out(stream.Signature(8)),
                "busy": Out(1),
                "working": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = FrameReceiver(self.link)
        m.submodules.engine = engine = LinkEngine(self.config, self.link)
        m.submodules.transmitter = transmitter = FrameTransmitter()
        unit = UpdateUnit(self.config, self._init)
        m.submodules.unit = ResetInserter(engine.unit_reset)(unit)
        wiring.connect(m, wiring.flipped(self.i), receiver.i)
        # Long paths on both sides of this stream: cut, they do not add up.
        m.submodules.requests = requests = StreamCut(8)
        wiring.connect(m, receiver.o, requests.i)
        wiring.connect(m, requests.o, engine.i)
        wiring.connect(m, engine.o, transmitter.i)
        wiring.connect(m, transmitter.o, wiring.flipped(self.o))
        wiring.connect(m, engine.command, unit.i_command)
        wiring.connect(m, engine.gradients, unit.i_gradients)
        wiring.connect(m, unit.o_report, engine.report)
        wiring.connect(m, engine.access, unit.i_access)
        wiring.connect(m, unit.o_weights, engine.weights)
        wiring.connect(m, engine.bus, unit.bus)
        m.d.comb += [
            receiver.error.eq(self.error),
            engine.frames.eq(receiver.frames),
            engine.rejected.eq(receiver.rejected),
            self.working.eq(receiver.working | requests.o.valid | engine.busy | transmitter.busy),
            self.busy.eq(receiver.busy | self.working),
        ]
        return m


class LinkedUnit(wiring.Component):
    """Serve a unit over a serial line: all of a board but its clock and its pins.

    An answer begins some 50 clocks after the stop bit of the request's last byte, later if the
    request takes time or others are before it. Frames that follow one another without a gap are
    executed as fast as they come.

    Parameters
    ----------
    config : UnitConfig
    link : LinkConfig
    init : ndarray of int64, shape (depth,), optional
        Raw weights at power-up.

    Members
    -------
    rx : In
        Serial line from the host; 8 data bits, no parity, 1 stop bit.
    tx : Out
        Serial line to the host.
    busy : Out
        A byte is being received or sent, or a frame is in work.
    working : Out
        The same, but for a frame that has not come whole.

    Raises
    ------
    ValueError
        If such a unit cannot stand behind a link.
    """

    def __init__(self, config: UnitConfig, link: LinkConfig, init: Raw | None = None):
        check_unit(config)
        self.config = config
        self.link = link
        self._init = init
        super().__init__(
            {"rx": In(1, init=1), "tx": Out(1, init=1), "busy": Out(1), "working": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(self.link)
        m.submodules.transmitter = transmitter = UartTransmitter(self.link)
        m.submodules.link = link = ByteLink(self.config, self.link, self._init)
        wiring.connect(m, receiver.o, link.i)
        wiring.connect(m, link.o, transmitter.i)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            link.error.eq(receiver.error),
            self.working.eq(receiver.busy | link.working | transmitter.busy),
            self.busy.eq(link.busy | self.working),
        ]
        return m
