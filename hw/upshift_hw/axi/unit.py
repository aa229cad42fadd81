"""The update unit as it goes into a SoC: AXI4-Stream, AXI4-Lite, an interrupt, and two clocks."""

from functools import reduce
from operator import or_

from amaranth.hdl import ClockDomain, DomainRenamer, Module
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from upshift.config import UnitConfig
from upshift.formats import Raw
from upshift.registers import AXI_BYTES
from upshift_hw.axi import lanes, signatures
from upshift_hw.axi.crossing import Mailbox, StreamCrossing
from upshift_hw.axi.ends import StreamIn, StreamOut
from upshift_hw.axi.lite import ANSWER, REQUEST, LiteFront
from upshift_hw.axi.reset import ResetSequencer
from upshift_hw.axi.shell import Shell, update_layout
from upshift_hw.cut import StreamCut


class AxiUnit(wiring.Component):
    """The update unit between standard buses.

    One beat per clock, of the slower clock if there are two, within packets and from one to the
    next. Buses have the clock ``aclk``, the unit has ``unit_clk``.

    Parameters
    ----------
    config : UnitConfig
    init : ndarray of int64, shape (depth,), optional
        Raw weights that a resident unit holds once the FPGA is configured.
    one_clock : bool
        Give the unit ``aclk`` as well; there is no ``unit_clk`` then.

    Members
    -------
    aclk, aresetn : In
        Clock of the buses; reset, active low, synchronous.
    unit_clk : In
        Clock of the unit.
    irq : Out
        Interrupt, high while there is a reason.
    s_axi : In(AXI4-Lite)
        Registers.
    s_axis_gradients : In(AXI4-Stream)
        One packet for each burst.
    s_axis_weights : In(AXI4-Stream)
        Weights to write; of a streamed unit the rows of each burst.
    m_axis_weights : Out(AXI4-Stream)
        Weights that were read; of a streamed unit the updated rows of each burst.
    m_axis_updates : Out(AXI4-Stream)
        With ``config.updates``: each row that was updated. TUSER is its address, and above it
        the mask of its lanes.
    """

    def __init__(self, config: UnitConfig, init: Raw | None = None, *, one_clock: bool = False):
        self.config = config
        self.one_clock = one_clock
        gradients = signatures.stream(lanes.stream_bytes(config.gradient, config.lanes))
        weights = signatures.stream(lanes.stream_bytes(config.weight, config.lanes))
        self._shell = Shell(config, init)
        members = {"aclk": In(1), "aresetn": In(1)}
        if not one_clock:
            members["unit_clk"] = In(1)
        members |= {
            "irq": Out(1),
            "s_axi": In(signatures.lite((AXI_BYTES - 1).bit_length())),
            "s_axis_gradients": In(gradients),
            "s_axis_weights": In(weights),
            "m_axis_weights": Out(weights),
        }
        if config.updates:
            user = update_layout(config)["user"].width
            size = lanes.stream_bytes(config.weight, config.lanes)
            members["m_axis_updates"] = Out(signatures.stream(size, user=user))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        self._domains(m)
        m.submodules.shell = shell = self._shell
        m.submodules.resets = resets = ResetSequencer()
        m.submodules.lite = lite = DomainRenamer("bus")(LiteFront())
        wiring.connect(m, wiring.flipped(self.s_axi), lite.bus)
        m.d.comb += [
            resets.start.eq(lite.reset_start),
            self._link.rst.eq(resets.link_reset),
            self._unit.rst.eq(resets.unit_reset),
        ]

        m.submodules.requests = requests = Mailbox(REQUEST, i_domain="link", o_domain="sync")
        m.submodules.answers = answers = Mailbox(ANSWER, i_domain="sync", o_domain="link")
        self._join(m, lite.request, requests.i, resets.running)
        wiring.connect(m, requests.o, shell.request)
        wiring.connect(m, shell.answer, answers.i)
        self._join(m, answers.o, lite.answer, resets.running)

        takers = [
            self._stream_in(m, "s_axis_gradients", shell.gradients),
            self._stream_in(m, "s_axis_weights", shell.i_weights),
        ]
        givers = [self._stream_out(m, "m_axis_weights", shell.o_weights)]
        if self.config.updates:
            givers.append(self._stream_out(m, "m_axis_updates", shell.updates))
        for end in (*takers, *givers):
            m.d.comb += end.running.eq(resets.running)
        for end in takers:
            m.d.comb += [end.reset.eq(lite.reset_start), end.drain.eq(lite.reset_drain)]
        draining = reduce(or_, (end.draining for end in takers))
        m.d.comb += lite.resetting.eq(~resets.running | draining)
        m.submodules.irq_sync = FFSynchronizer(shell.interrupt, self.irq, o_domain="bus")
        return m

    def _domains(self, m):
        """Make the clock domains; ``link`` is the bus side of the crossings, with its own reset."""
        m.domains.bus = bus = ClockDomain("bus")
        m.domains.link = self._link = ClockDomain("link")
        m.domains.sync = self._unit = ClockDomain("sync")
        bus.clk = self._link.clk = self.aclk
        self._unit.clk = self.aclk if self.one_clock else self.unit_clk
        m.d.comb += bus.rst.eq(~self.aresetn)

    def _crossing(self, m, name, shape, *, i_domain, o_domain):
        if not self.one_clock:
            crossing = StreamCrossing(shape, i_domain=i_domain, o_domain=o_domain)
        else:
            crossing = StreamCut(shape)
        m.submodules[f"{name}_crossing"] = crossing
        return crossing

    @staticmethod
    def _join(m, source, sink, running):
        """Connect two streams on the bus side while there is no reset."""
        m.d.comb += [
            sink.payload.eq(source.payload),
            sink.valid.eq(source.valid & running),
            source.ready.eq(sink.ready & running),
        ]

    def _stream_in(self, m, name, sink):
        """Bring an AXI4-Stream to the unit; return its end on the bus."""
        axis = getattr(self, name)
        m.submodules[f"{name}_end"] = end = DomainRenamer("bus")(StreamIn(len(axis.tdata) // 8))
        crossing = self._crossing(m, name, sink.payload.shape(), i_domain="link", o_domain="sync")
        wiring.connect(m, wiring.flipped(axis), end.axis)
        wiring.connect(m, end.o, crossing.i)
        wiring.connect(m, crossing.o, sink)
        return end

    def _stream_out(self, m, name, source):
        """Bring a stream of the unit to an AXI4-Stream; return its end on the bus."""
        shape = source.payload.shape()
        m.submodules[f"{name}_end"] = end = DomainRenamer("bus")(StreamOut(shape))
        crossing = self._crossing(m, name, shape, i_domain="sync", o_domain="link")
        wiring.connect(m, source, crossing.i)
        wiring.connect(m, crossing.o, end.i)
        wiring.connect(m, end.axis, wiring.flipped(getattr(self, name)))
        return end
