"""What the unit says of a burst and what the shell knows of its packets, as one report."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig
from upshift_hw.axi.framing import result_layout
from upshift_hw.shapes import layout_of


def entry_layout(config: UnitConfig) -> data.StructLayout:
    """Return a report with the results of both framers."""
    return data.StructLayout(
        {
            "report": layout_of(layout.report(config)),
            "gradients": result_layout(config),
            "weights": result_layout(config),
        }
    )


class ReportQueue(wiring.Component):
    """Join reports with their packets and keep them until software has read them.

    Parameters
    ----------
    config : UnitConfig
    slots : int
        Reports held. When there is no room, the unit keeps its own, and stops in the end; no
        report is ever lost.

    Members
    -------
    i : In(stream)
        Reports.
    gradients, weights : In(stream)
        Results of the framers; both have one for every report.
    queued : Out
        A report is queued in this clock.
    o : Out(stream)
    level : Out
        Reports that can be read.
    """

    def __init__(self, config: UnitConfig, *, slots: int = 16):
        self.slots = slots
        entry = entry_layout(config)
        super().__init__(
            {
                "i": In(stream.Signature(entry["report"].shape)),
                "gradients": In(stream.Signature(entry["gradients"].shape)),
                "weights": In(stream.Signature(entry["weights"].shape)),
                "queued": Out(1),
                "o": Out(stream.Signature(entry)),
                "level": Out(range(slots + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        entry = Signal.like(self.o.payload)
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(
            width=len(entry.as_value()), depth=self.slots
        )
        parts = (self.i, self.gradients, self.weights)
        m.d.comb += [
            entry.report.eq(self.i.payload),
            entry.gradients.eq(self.gradients.payload),
            entry.weights.eq(self.weights.payload),
            self.queued.eq(self.i.valid & self.gradients.valid & self.weights.valid & queue.w_rdy),
            *(part.ready.eq(self.queued) for part in parts),
            queue.w_data.eq(entry),
            queue.w_en.eq(self.queued),
            self.o.payload.eq(queue.r_data),
            self.o.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.o.ready),
            self.level.eq(queue.level),
        ]
        return m
