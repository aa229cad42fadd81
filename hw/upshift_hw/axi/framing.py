"""Packets against bursts: what comes out is as long as the burst, whatever the packet was."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig
from upshift_hw.command import plan_layout


def packet_layout(bits: int) -> data.StructLayout:
    """Return a beat of a packet."""
    return data.StructLayout({"data": bits, "last": 1})


def beat_layout(config: UnitConfig, bits: int) -> data.StructLayout:
    """Return a beat of a burst.

    ``filled``: made up here, its data are zero. ``end``: the last that was not made up.
    """
    return data.StructLayout(
        {
            "data": bits,
            "row": layout.row_bits(config),
            "mask": config.lanes,
            "filled": 1,
            "end": 1,
        }
    )


def result_layout(config: UnitConfig) -> data.StructLayout:
    """Return what is known of a packet after its burst."""
    rows = plan_layout(config)["row"].shape
    return data.StructLayout({"early": 1, "late": 1, "beats": rows + 1})


class Framer(wiring.Component):
    """Give each burst as many beats as it has, from one packet each.

    A packet that ends early is filled up with zeros. Of a packet that does not end with its
    burst the rest is thrown away, up to its end; so the next packet meets the next burst, always.
    One beat per clock, from one burst to the next as well.

    Parameters
    ----------
    config : UnitConfig
    bits : int
        Of the data of a beat.
    results : int
        Results that may wait.

    Members
    -------
    plan : In
        The burst to start (`upshift_hw.command.plan_layout`).
    produce : In
        It has no packet: make all of its beats here.
    free : Out
        It may start.
    start : In
        It starts, only while `free`. One without beats only gives a result.
    i : In(stream)
        Packets.
    o : Out(stream)
        Beats.
    result : Out(stream)
        One for each start.
    early, late : Out
        In this clock a packet ends too early, or fails to end.
    active, discarding : Out
        A burst is in progress; the rest of a packet is being thrown away.
    """

    def __init__(self, config: UnitConfig, bits: int, *, results: int = 16):
        self.config = config
        self._results = results
        super().__init__(
            {
                "plan": In(plan_layout(config)),
                "produce": In(1),
                "free": Out(1),
                "start": In(1),
                "i": In(stream.Signature(packet_layout(bits))),
                "o": Out(stream.Signature(beat_layout(config, bits))),
                "result": Out(stream.Signature(result_layout(config))),
                "early": Out(1),
                "late": Out(1),
                "active": Out(1),
                "discarding": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        result = result_layout(self.config)
        m.submodules.results = results = fifo.SyncFIFO(width=result.size, depth=self._results)
        pushed = Signal(result)
        m.d.comb += [
            results.w_data.eq(pushed),
            self.result.payload.eq(results.r_data),
            self.result.valid.eq(results.r_rdy),
            results.r_en.eq(self.result.ready),
        ]

        plan = Signal.like(self.plan)
        first = Signal()
        last, nearly = Signal(), Signal()  # the next beat is the last
        filling = Signal()
        producing = Signal()
        taken = Signal.like(pushed.beats)
        moves = Signal()
        finish = Signal()
        with_packet = Signal()  # the packet has ended with the burst, or before
        m.d.comb += [
            moves.eq(self.o.valid & self.o.ready),
            finish.eq(moves & last),
            with_packet.eq(filling | self.i.payload.last),
            # A result of the burst in progress has its place already.
            self.free.eq(
                (results.w_level < self._results - 1)
                & ~self.discarding
                & (~self.active | (finish & with_packet & self.plan.has_beats))
            ),
            self.i.ready.eq((self.active & ~filling & self.o.ready) | self.discarding),
            self.o.valid.eq(self.active & (filling | self.i.valid)),
            self.o.payload.data.eq(Mux(filling, 0, self.i.payload.data)),
            self.o.payload.row.eq(plan.row),
            self.o.payload.mask.eq(
                Mux(first, plan.first_mask, Mux(last, plan.last_mask, (1 << self.config.lanes) - 1))
            ),
            self.o.payload.filled.eq(filling & ~producing),
            self.o.payload.end.eq(Mux(filling, producing & last, last | self.i.payload.last)),
            self.early.eq(moves & ~filling & self.i.payload.last & ~last),
            self.late.eq(finish & ~with_packet),
            pushed.early.eq(filling & ~producing),
            pushed.late.eq(self.late),
            pushed.beats.eq(Mux(finish, taken + ~self.o.payload.filled, 0)),
            results.w_en.eq(finish | (self.start & ~self.plan.has_beats)),
        ]
        with m.If(self.discarding & self.i.valid & self.i.payload.last):
            m.d.sync += self.discarding.eq(0)
        with m.If(moves):
            m.d.sync += [
                plan.row.eq(plan.row + 1),
                first.eq(0),
                last.eq(nearly),
                nearly.eq(plan.row == plan.third_last),
                taken.eq(taken + ~self.o.payload.filled),
                filling.eq(filling | self.early),
            ]
        with m.If(finish):
            m.d.sync += [self.active.eq(0), self.discarding.eq(~with_packet)]
        with m.If(self.start & self.plan.has_beats):
            m.d.sync += [
                plan.eq(self.plan),
                self.active.eq(1),
                first.eq(1),
                last.eq(self.plan.single),
                nearly.eq(self.plan.double),
                filling.eq(self.produce),
                producing.eq(self.produce),
                taken.eq(0),
            ]
        return m
