"""The update unit: gradient beats in, weights updated in place, one report per burst.

    clock 0   a beat is taken
          1   gradients are aligned (q_min: masked and merged)
          2   steps are rounded, weights are read
          3   steps are subtracted
          4   weights are clamped
          5   weights are written, lanes are counted
          6-8 counts are added up and queued
          9   the report is offered

The weight is read late, so that only `UpdateUnit.distance` clocks lie between a beat and the
first beat that may read what it wrote.
"""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from upshift import layout, registers
from upshift.config import UnitConfig
from upshift_hw.align import FixedAlign, require_fixed
from upshift_hw.burst import BurstSequencer
from upshift_hw.lane import Lane
from upshift_hw.memory import WeightMemory
from upshift_hw.needed import NeededResolution
from upshift_hw.registers import Bus, RegisterBank
from upshift_hw.report import ReportCollector
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

    latency = 1 + FixedAlign.latency + Lane.latency
    # A row is read with the stage that rounds, and can be read again once it is written.
    _read_stage = 1 + FixedAlign.latency
    distance = latency - _read_stage + 1

    def __init__(self, config: UnitConfig):
        require_fixed(config)
        self.config = config
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
        m.submodules.reports = reports = ReportCollector(self.config)
        wiring.connect(m, wiring.flipped(self.i_command), sequencer.command)
        wiring.connect(m, wiring.flipped(self.o_report), reports.o)
        m.d.comb += [
            sequencer.gradient_valid.eq(self.i_gradients.valid),
            self.i_gradients.ready.eq(sequencer.gradient_ready),
            sequencer.report_free.eq(reports.free),
            reports.started.eq(sequencer.started),
        ]

        # Stage n holds the beat that started n clocks ago.
        valid, beat = [sequencer.valid], [sequencer.beat]
        for stage in range(1, self.latency + 1):
            valid.append(Signal(name=f"valid_{stage}"))
            beat.append(Signal(sequencer.beat.shape(), name=f"beat_{stage}"))
            m.d.sync += [valid[stage].eq(valid[stage - 1]), beat[stage].eq(beat[stage - 1])]
        m.d.comb += [
            memory.read_row.eq(beat[self._read_stage].row),
            memory.read_enable.eq(valid[self._read_stage]),
            memory.write_row.eq(beat[-1].row),
            memory.write_mask.eq(Mux(valid[-1], beat[-1].mask, 0)),
            reports.valid.eq(valid[-1]),
            reports.beat.eq(beat[-1]),
        ]

        gradients = Signal.like(self.i_gradients.payload)
        rate = Signal.like(sequencer.rate)
        resolution = Signal.like(sequencer.resolution)
        m.d.sync += [
            gradients.eq(self.i_gradients.payload),
            rate.eq(sequencer.rate),
            resolution.eq(sequencer.resolution),
        ]
        self._lanes(m, memory, reports, gradients=gradients, rate=rate, resolution=resolution)
        self._needed(m, reports, gradients=gradients, rate=rate, mask=beat[1].mask)

        busy = Signal()
        m.d.comb += busy.eq(sequencer.active | reduce(or_, valid[1:]))
        self._host(m, busy, memory, sequencer)
        self._registers(m, busy, sequencer)
        return m

    def _lanes(self, m, memory, reports, *, gradients, rate, resolution):
        """Connect the datapath; gradients, rate and resolution are those of stage 1."""
        ones = (1 << (self.config.weight.fraction + 1)) - 1
        low = Signal(self.config.weight.fraction + 1)
        m.d.sync += low.eq(ones >> resolution)
        half = low & ~(low >> 1)
        for j in range(self.config.lanes):
            m.submodules[f"align{j}"] = align = FixedAlign(self.config)
            m.submodules[f"lane{j}"] = lane = Lane(self.config)
            m.d.comb += [
                align.gradient.eq(gradients[j]),
                align.rate.eq(rate),
                lane.steps.eq(align.steps),
                lane.half.eq(half),
                lane.low.eq(low),
                lane.weight.eq(memory.read_weights[j]),
                memory.write_weights[j].eq(lane.new_weight),
                reports.nonzero[j].eq(lane.nonzero),
                reports.saturated[j].eq(lane.saturated),
            ]

    def _needed(self, m, reports, *, gradients, rate, mask):
        """Connect q_min, delayed until its beat is written."""
        m.submodules.needed_resolution = needed = NeededResolution(self.config)
        m.d.comb += [
            needed.gradients.eq(gradients),
            needed.mask.eq(mask),
            needed.rate.eq(rate),
        ]
        valid, value = needed.valid, needed.needed
        for stage in range(1 + needed.latency, self.latency):
            later_valid = Signal(name=f"needed_valid_{stage + 1}")
            later_value = Signal.like(value, name=f"needed_{stage + 1}")
            m.d.sync += [later_valid.eq(valid), later_value.eq(value)]
            valid, value = later_valid, later_value
        m.d.comb += [reports.needed_valid.eq(valid), reports.needed.eq(value)]

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
