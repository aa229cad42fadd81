"""Exact counts of each burst, gathered behind the pipeline and never overwritten.

A command reserves room for its report before it starts, so the pipeline never has to stop for
one: the counts of a burst fall into a queue that is known to have a free place.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig
from upshift_hw.burst import beat_layout
from upshift_hw.shapes import layout_of


def popcount(bits):
    """Return the number of set bits as a balanced tree of adders."""
    bits = list(bits)
    while len(bits) > 1:
        pairs = [a + b for a, b in zip(bits[::2], bits[1::2], strict=False)]
        bits = pairs + bits[len(pairs) * 2 :]
    return bits[0]


class ReportCollector(wiring.Component):
    """Add up what the lanes say, beat by beat, and queue one report per command.

    Parameters
    ----------
    config : UnitConfig
    slots : int
        Reports that may be under way or waiting. One-beat bursts keep the full rate while
        `slots` exceeds the clocks from a command's start to its report.

    Members
    -------
    started : In
        A command starts: reserve a slot.
    free : Out
        Another command may start.
    valid, beat : In
        A beat has reached the write stage.
    nonzero, saturated : In
        One bit per lane, for lanes in the beat's mask and outside it alike.
    needed_valid, needed : In
        q_min of the beat.
    o : Out(stream)
        Reports in command order.
    """

    def __init__(self, config: UnitConfig, *, slots: int = 16):
        self.config = config
        self.slots = slots
        fields = {f.name: f for f in layout.report(config)}
        report = layout_of(layout.report(config))
        super().__init__(
            {
                "started": In(1),
                "free": Out(1),
                "valid": In(1),
                "beat": In(beat_layout(config)),
                "nonzero": In(config.lanes),
                "saturated": In(config.lanes),
                "needed_valid": In(fields["needed_valid"].width),
                "needed": In(report["needed"].shape),
                "o": Out(stream.Signature(report)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        report = self.o.payload.shape()

        # One clock to count the lanes of a beat, one to add the beat to its burst.
        counts = {
            "elements": self.beat.mask,
            "nonzero": self.beat.mask & self.nonzero,
            "saturated": self.beat.mask & self.saturated,
        }
        valid = Signal(name="counted_valid")
        beat = Signal.like(self.beat, name="counted_beat")
        needed_valid = Signal(name="counted_needed_valid")
        needed = Signal.like(self.needed, name="counted_needed")
        m.d.sync += [
            valid.eq(self.valid),
            beat.eq(self.beat),
            needed_valid.eq(self.needed_valid),
            needed.eq(self.needed),
        ]
        total = Signal(report)
        complete = Signal()
        for name, lanes in counts.items():
            count = Signal(range(self.config.lanes + 1), name=f"beat_{name}")
            m.d.sync += count.eq(popcount(lanes))
            with m.If(valid):
                m.d.sync += total[name].eq(Mux(beat.first, 0, total[name]) + count)
        with m.If(valid):
            m.d.sync += total.refusal.eq(beat.refusal)
            with m.If(beat.first | (needed_valid & ~total.needed_valid)):
                m.d.sync += [total.needed_valid.eq(needed_valid), total.needed.eq(needed)]
            with m.Elif(needed_valid & (needed < total.needed)):
                m.d.sync += total.needed.eq(needed)
        m.d.sync += complete.eq(valid & beat.last)

        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=report.size, depth=self.slots)
        m.d.comb += [
            queue.w_en.eq(complete),
            queue.w_data.eq(total),
            self.o.valid.eq(queue.r_rdy),
            self.o.payload.eq(queue.r_data),
            queue.r_en.eq(self.o.ready),
        ]

        reserved = Signal(range(self.slots + 1))
        left = self.o.valid & self.o.ready
        m.d.sync += reserved.eq(reserved + self.started - left)
        m.d.comb += self.free.eq(reserved != self.slots)
        return m
