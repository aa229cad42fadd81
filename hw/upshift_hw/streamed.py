"""The update unit for weights outside the chip: they stream in beside the gradients and out again.

The same sequencer and datapath as in a resident unit. A row of weights comes in with each
gradient beat and goes along registers until the datapath wants it; the row leaves by a queue in
which its beat has reserved a place, so that the datapath never stalls. Weights that a burst does
not touch need no way of their own: the datapath gives them gradients of zero.
"""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig
from upshift_hw.burst import BurstSequencer
from upshift_hw.datapath import Datapath
from upshift_hw.delay import later
from upshift_hw.registers import Bus, UnitRegisters
from upshift_hw.row_queue import RowQueue
from upshift_hw.shapes import layout_of, shape_of


class StreamedUnit(wiring.Component):
    """Apply w <- w - Q(2**-k g) to bursts of weights that stream through.

    A beat takes a gradient beat and a row of weights in the same clock, and gives one row back,
    `latency` clocks later if nobody holds the rows up. One beat per clock, inside bursts and
    between them. Rows leave in the order in which they came; lanes outside the burst, and all
    lanes of a refused burst, leave as they came.

    Nothing in here depends on addresses: whoever reads and writes the memory outside must not
    read a row while an update of it is under way.

    Parameters
    ----------
    config : UnitConfig
        With streamed weights.

    Attributes
    ----------
    latency : int
        Clocks from a beat to the clock that offers its row.
    distance : int
        Clocks from a beat to the next one that may follow on the same row: 1, the rows are not
        compared.

    Members
    -------
    i_command : In(stream)
        Commands (`upshift.layout.command`).
    i_gradients : In(stream)
        Gradient beats: lane j carries the addresses congruent to j modulo `lanes`.
    i_weights : In(stream)
        The row of weights of each gradient beat.
    o_report : Out(stream)
        One report per command, in order.
    o_weights : Out(stream)
        One row for each that came in, in order.
    bus : In(Bus)
        Registers.

    Raises
    ------
    ValueError
        If the weights are not streamed.
    """

    distance = 1

    def __init__(self, config: UnitConfig):
        if config.memory != "streamed":
            raise ValueError(f"a StreamedUnit holds no weights: they cannot be {config.memory}")
        self.config = config
        self._datapath = Datapath(config)
        row = data.ArrayLayout(shape_of(config.weight), config.lanes)
        self._rows = RowQueue(row, delay=self._datapath.latency)
        self.latency = self._datapath.latency + RowQueue.latency
        super().__init__(
            {
                "i_command": In(stream.Signature(layout_of(layout.command(config)))),
                "i_gradients": In(
                    stream.Signature(data.ArrayLayout(shape_of(config.gradient), config.lanes))
                ),
                "i_weights": In(stream.Signature(row)),
                "o_report": Out(stream.Signature(layout_of(layout.report(config)))),
                "o_weights": Out(stream.Signature(row)),
                "bus": In(Bus),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.sequencer = sequencer = BurstSequencer(self.config, distance=self.distance)
        m.submodules.datapath = datapath = self._datapath
        m.submodules.rows = rows = self._rows
        m.submodules.registers = registers = UnitRegisters(self.config)
        wiring.connect(m, wiring.flipped(self.i_command), sequencer.command)
        wiring.connect(m, wiring.flipped(self.o_report), datapath.o_report)
        wiring.connect(m, wiring.flipped(self.o_weights), rows.o)
        wiring.connect(m, wiring.flipped(self.bus), registers.bus)

        # A beat is both payloads at once.
        both, taken = Signal(), Signal()
        m.d.comb += [
            both.eq(self.i_gradients.valid & self.i_weights.valid),
            sequencer.gradient_valid.eq(both),
            sequencer.room.eq(rows.room),
            taken.eq(both & sequencer.gradient_ready),
            self.i_gradients.ready.eq(taken),
            self.i_weights.ready.eq(taken),
            sequencer.report_free.eq(datapath.free),
            datapath.started.eq(sequencer.started),
            datapath.elements.eq(sequencer.elements),
            datapath.refusal.eq(sequencer.refused),
            *datapath.follow(sequencer),
            datapath.gradients.eq(self.i_gradients.payload),
            datapath.weights.eq(
                later(m, self.i_weights.payload, datapath.weights_stage, "weights")
            ),
            rows.start.eq(taken),
            rows.row.eq(datapath.new_weights),
            registers.busy.eq(sequencer.active | datapath.busy | ~rows.empty),
            registers.beat.eq(sequencer.taken),
            *registers.follow(sequencer),
        ]
        return m
