"""The update unit: gradient beats in, weights updated in place, one report per burst.

A sequencer turns commands into beats, the weight memory gives and takes rows, the datapath
between them updates one row per clock. The host reaches the memory between bursts.
"""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig
from upshift.formats import Raw
from upshift_hw.burst import BurstSequencer
from upshift_hw.datapath import Datapath
from upshift_hw.delay import later
from upshift_hw.memory import Ram, WeightMemory
from upshift_hw.pipeline import pipeline_of
from upshift_hw.registers import Bus, UnitRegisters
from upshift_hw.row_queue import RowQueue
from upshift_hw.shapes import layout_of, shape_of


class UpdateUnit(wiring.Component):
    """Apply w <- w - Q(2**-k g) to bursts of weights held on chip.

    One beat of `lanes` gradients per clock, inside bursts and between them. A beat waits only
    while a lane of the same row is in flight, `distance` - 1 clocks at most.

    Host accesses are served between bursts: an access waits until the burst in progress has
    written its last weight, and then goes before the next burst. Data that was read must be
    taken before the next burst starts. Rows are written one per clock and read one every three, or
    four where the memory has an output register.

    Parameters
    ----------
    config : UnitConfig
        With resident weights.
    init : ndarray of int64, shape (depth,), optional
        Raw weights that the memory holds once the FPGA is configured; unknown if left out.
    ram : {"inferred", "dp16kd"}, optional
        See `upshift_hw.memory.WeightMemory`.

    Attributes
    ----------
    distance : int
        Clocks from a beat to the first beat that may read what it wrote (P).
    latency : int
        Clocks from a gradient beat to the clock in which its weights are written.

    Members
    -------
    i_command : In(stream)
        Commands (`upshift.layout.command`).
    i_gradients : In(stream)
        Gradient beats: lane j carries the addresses congruent to j modulo `lanes`.
    o_report : Out(stream)
        One report per command, in order.
    i_access : In(stream)
        Host accesses to rows of weights.
    o_weights : Out(stream)
        Rows that were read, in order.
    o_updates : Out(stream)
        With ``config.updates``: each row that an accepted burst writes, in order. A beat starts
        only when there is room for its row.
    bus : In(Bus)
        Registers.

    Raises
    ------
    ValueError
        If the weights are not resident, or `init` does not fit.
    """

    def __init__(self, config: UnitConfig, init: Raw | None = None, ram: Ram | None = None):
        if config.memory != "resident":
            raise ValueError(f"an UpdateUnit holds its weights: they cannot be {config.memory}")
        self.config = config
        self._memory = WeightMemory(config, init, ram)
        self._datapath = Datapath(config)
        self.latency = self._datapath.latency
        # A row is read late, and can be read again once it is written.
        self.distance = self.latency + 1 - self._datapath.read_stage
        updates = {}
        if config.updates:
            self._updates = RowQueue(layout_of(layout.updates(config)), delay=self.latency)
            updates = {"o_updates": Out(self._updates.o.signature)}
        super().__init__(
            {
                "i_command": In(stream.Signature(layout_of(layout.command(config)))),
                "i_gradients": In(
                    stream.Signature(data.ArrayLayout(shape_of(config.gradient), config.lanes))
                ),
                "o_report": Out(stream.Signature(layout_of(layout.report(config)))),
                "i_access": In(stream.Signature(layout_of(layout.access(config)))),
                "o_weights": Out(
                    stream.Signature(data.ArrayLayout(shape_of(config.weight), config.lanes))
                ),
                "bus": In(Bus),
            }
            | updates
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.sequencer = sequencer = BurstSequencer(self.config, distance=self.distance)
        m.submodules.memory = memory = self._memory
        m.submodules.registers = registers = UnitRegisters(self.config)
        m.submodules.datapath = datapath = self._datapath
        wiring.connect(m, wiring.flipped(self.i_command), sequencer.command)
        wiring.connect(m, wiring.flipped(self.o_report), datapath.o_report)
        wiring.connect(m, wiring.flipped(self.bus), registers.bus)
        way = pipeline_of(self.config).read - memory.latency  # clocks from block RAM to datapath
        room = self._send_updates(m, sequencer, datapath) if self.config.updates else 1
        m.d.comb += [
            sequencer.gradient_valid.eq(self.i_gradients.valid),
            sequencer.room.eq(room),
            self.i_gradients.ready.eq(sequencer.gradient_ready),
            sequencer.report_free.eq(datapath.free),
            datapath.started.eq(sequencer.started),
            datapath.elements.eq(sequencer.elements),
            datapath.refusal.eq(sequencer.refused),
            *datapath.follow(sequencer),
            datapath.gradients.eq(self.i_gradients.payload),
            datapath.weights.eq(later(m, memory.read_weights, way, "weights")),
            memory.write_row.eq(datapath.write_row),
            memory.write_mask.eq(datapath.write_mask),
            memory.write_weights.eq(datapath.new_weights),
        ]
        m.d.comb += [
            registers.busy.eq(sequencer.active | sequencer.underway | datapath.busy),
            registers.beat.eq(sequencer.taken),
            *registers.follow(sequencer),
        ]
        self._host(m, memory, sequencer, datapath)
        return m

    def _send_updates(self, m, sequencer, datapath):
        """Send the rows that are written; return whether there is room for another."""
        m.submodules.updates = updates = self._updates
        wiring.connect(m, wiring.flipped(self.o_updates), updates.o)
        m.d.comb += [
            updates.start.eq(sequencer.valid & sequencer.beat.mask.any()),
            updates.row.row.eq(datapath.write_row),
            updates.row.mask.eq(datapath.write_mask),
            updates.row.last.eq(datapath.write_last),
            updates.row.weights.eq(Cat(datapath.new_weights)),
        ]
        return updates.room

    def _host(self, m, memory, sequencer, datapath):
        """Serve host accesses between bursts, over the port of the memory that reads for beats.

        That port is registered: what it is to do is decided a clock before.
        """
        access, answer = self.i_access, self.o_weights
        transfer, waits = Signal(), Signal()
        hold, quiet = Signal(), Signal()  # quiet: no beat is there and none will be in this clock
        # A row that was asked for: one clock to the port, and as many as the memory takes.
        asked = [transfer & ~access.payload.write]
        for clock in range(memory.latency):
            register = Signal(name=f"asked_{clock + 1}")
            m.d.sync += register.eq(asked[-1])
            asked.append(register)
        keeps = waits & ~answer.ready
        pending = reduce(or_, asked[1:])
        answers = Signal()  # pending or waits, or was taken in the clock before
        holds = access.valid | pending | keeps
        write = transfer & access.payload.write
        m.d.sync += [
            # The port may read anything while no row is on its way or waiting for the host.
            memory.read_enable.eq(datapath.read_valid | ~(pending | keeps)),
            memory.read_row.eq(Mux(datapath.read_valid, datapath.read_row, access.payload.row)),
            memory.host_write.eq(write),
            memory.host_mask.eq(access.payload.mask),
            Cat(memory.host_weights).eq(access.payload.weights),
            waits.eq(asked[-1] | keeps),
            answers.eq(asked[0] | pending | keeps),
            hold.eq(holds),
            quiet.eq(hold & holds & ~(sequencer.underway | sequencer.starting | datapath.occupied)),
        ]
        m.d.comb += [
            transfer.eq(access.valid & access.ready),
            sequencer.hold.eq(hold),
            access.ready.eq(quiet & ~answers),
            answer.valid.eq(waits),
            answer.payload.eq(memory.read_weights),
        ]
