"""The update unit: gradient beats in, weights updated in place, one report per burst.

A sequencer turns commands into beats, the weight memory gives and takes rows, the datapath
between them updates one row per clock. The host reaches the memory between bursts.
"""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from upshift import layout, registers
from upshift.config import UnitConfig
from upshift_hw.burst import BurstSequencer
from upshift_hw.datapath import Datapath
from upshift_hw.memory import WeightMemory
from upshift_hw.registers import Bus, RegisterBank
from upshift_hw.shapes import layout_of, shape_of


class UpdateUnit(wiring.Component):
    """Apply w <- w - Q(2**-k g) to bursts of weights held on chip.

    One beat of `lanes` gradients per clock, inside bursts and between them. A beat waits only
    while a lane of the same row is in flight, `distance` - 1 clocks at most.

    Host accesses are served between bursts: an access waits until the burst in progress has
    written its last weight, and then goes before the next burst. Data that was read must be
    taken before the next burst starts.

    Parameters
    ----------
    config : UnitConfig

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
    bus : In(Bus)
        Registers.
    """

    def __init__(self, config: UnitConfig):
        self.config = config
        self._datapath = Datapath(config)
        self.latency = self._datapath.latency
        # A row is read late, and can be read again once it is written.
        self.distance = self.latency - self._datapath.read_stage + 1
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
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.sequencer = sequencer = BurstSequencer(self.config, distance=self.distance)
        m.submodules.memory = memory = WeightMemory(self.config)
        m.submodules.datapath = datapath = self._datapath
        wiring.connect(m, wiring.flipped(self.i_command), sequencer.command)
        wiring.connect(m, wiring.flipped(self.o_report), datapath.o_report)
        m.d.comb += [
            sequencer.gradient_valid.eq(self.i_gradients.valid),
            self.i_gradients.ready.eq(sequencer.gradient_ready),
            sequencer.report_free.eq(datapath.free),
            datapath.started.eq(sequencer.started),
            datapath.valid.eq(sequencer.valid),
            datapath.beat.eq(sequencer.beat),
            datapath.rate.eq(sequencer.rate),
            datapath.resolution.eq(sequencer.resolution),
            datapath.gradients.eq(self.i_gradients.payload),
            memory.read_row.eq(datapath.read_row),
            memory.read_enable.eq(datapath.read_valid),
            datapath.weights.eq(memory.read_weights),
            memory.write_row.eq(datapath.write_row),
            memory.write_mask.eq(datapath.write_mask),
            memory.write_weights.eq(datapath.new_weights),
        ]
        busy = Signal()
        m.d.comb += busy.eq(sequencer.active | datapath.busy)
        self._host(m, busy, memory, sequencer)
        self._registers(m, busy, sequencer)
        return m

    def _host(self, m, busy, memory, sequencer):
        """Serve host accesses between bursts, over the ports of the memory that are idle then."""
        read_waits = Signal()
        access = self.i_access.payload
        m.d.comb += [
            sequencer.hold.eq(self.i_access.valid | read_waits),
            self.i_access.ready.eq(~busy & (~read_waits | self.o_weights.ready)),
            self.o_weights.valid.eq(read_waits),
            self.o_weights.payload.eq(memory.read_weights),
        ]
        with m.If(self.o_weights.ready):
            m.d.sync += read_waits.eq(0)
        with m.If(self.i_access.valid & self.i_access.ready):
            m.d.comb += memory.read_row.eq(access.row)
            with m.If(access.write):
                m.d.comb += [
                    memory.write_row.eq(access.row),
                    memory.write_mask.eq(access.mask),
                    Cat(memory.write_weights).eq(access.weights),
                ]
            with m.Else():
                m.d.comb += memory.read_enable.eq(1)
                m.d.sync += read_waits.eq(1)

    def _registers(self, m, busy, sequencer):
        """Connect the register bank and count clocks."""
        m.submodules.bank = bank = RegisterBank()
        wiring.connect(m, wiring.flipped(self.bus), bank.bus)
        identity = registers.identity(self.config)
        m.d.comb += [
            bank.magic_value.eq(identity["magic"]),
            Cat(bank.version_gateware, bank.version_protocol).eq(identity["version"]),
            bank.digest_high_value.eq(identity["digest_high"]),
            bank.digest_low_value.eq(identity["digest_low"]),
            bank.status_busy.eq(busy),
            bank.status_floor.eq(sequencer.floor),
            bank.error_refusal.eq(sequencer.refused),
        ]
        for port, event in (
            (bank.clocks_value, sequencer.counting),
            (bank.beats_value, self.i_gradients.valid & self.i_gradients.ready),
            (bank.stalls_value, sequencer.stalled),
            (bank.waits_value, sequencer.waiting),
        ):
            m.d.sync += port.eq(port + event)
