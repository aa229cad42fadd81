"""The update unit: gradient beats in, weights updated in place, one report per burst.

    clock  0     1        2        3        4         5        6..8
           beat  aligned  rounded  exact    clamped   counted  reported
                          read     weight             written

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
from upshift_hw.align import FixedAlign
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

    def __init__(self, config: UnitConfig):
        self.config = config
        self.latency = 1 + FixedAlign.latency + Lane.latency
        # A row is read with the stage that rounds, and can be read again once it is written.
        self._read_stage = 1 + FixedAlign.latency
        self.distance = self.latency - self._read_stage + 1
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
        config = self.config

        m.submodules.sequencer = sequencer = BurstSequencer(config, distance=self.distance)
        m.submodules.memory = memory = WeightMemory(config)
        m.submodules.reports = reports = ReportCollector(config)
        m.submodules.needed_resolution = needed = NeededResolution(config)

        wiring.connect(m, wiring.flipped(self.i_command), sequencer.command)
        wiring.connect(m, wiring.flipped(self.o_report), reports.o)
        m.d.comb += [
            sequencer.gradient_valid.eq(self.i_gradients.valid),
            self.i_gradients.ready.eq(sequencer.gradient_ready),
            sequencer.report_free.eq(reports.free),
            reports.started.eq(sequencer.started),
        ]

        # -- the pipeline: stage n holds what entered n clocks ago ---------------------------
        valid, beat = [sequencer.valid], [sequencer.beat]
        for stage in range(1, self.latency + 1):
            valid.append(Signal(name=f"valid_{stage}"))
            beat.append(Signal(sequencer.beat.shape(), name=f"beat_{stage}"))
            m.d.sync += [valid[stage].eq(valid[stage - 1]), beat[stage].eq(beat[stage - 1])]

        gradients = Signal.like(self.i_gradients.payload)
        rate = Signal.like(sequencer.rate)
        resolution = Signal.like(sequencer.resolution)
        m.d.sync += [
            gradients.eq(self.i_gradients.payload),
            rate.eq(sequencer.rate),
            resolution.eq(sequencer.resolution),
        ]

        ones = (1 << (config.weight.fraction + 1)) - 1
        low = Signal(config.weight.fraction + 1)
        m.d.sync += low.eq(ones >> resolution)
        half = low & ~(low >> 1)

        nonzero, saturated = Signal(config.lanes), Signal(config.lanes)
        for j in range(config.lanes):
            m.submodules[f"align{j}"] = align = FixedAlign(config)
            m.submodules[f"lane{j}"] = lane = Lane(config)
            m.d.comb += [
                align.gradient.eq(gradients[j]),
                align.rate.eq(rate),
                lane.steps.eq(align.steps),
                lane.half.eq(half),
                lane.low.eq(low),
                lane.weight.eq(memory.read_weights[j]),
                memory.write_weights[j].eq(lane.new_weight),
                nonzero[j].eq(lane.nonzero),
                saturated[j].eq(lane.saturated),
            ]

        write = beat[self.latency]
        m.d.comb += [
            memory.write_row.eq(write.row),
            memory.write_mask.eq(Mux(valid[self.latency], write.mask, 0)),
        ]

        # -- what the report says ----------------------------------------------------------------
        m.d.comb += [
            needed.gradients.eq(gradients),
            needed.mask.eq(beat[1].mask),
            needed.rate.eq(rate),
        ]
        needed_valid, needed_value = needed.valid, needed.needed
        for stage in range(1 + needed.latency, self.latency):
            later_valid = Signal(name=f"needed_valid_{stage + 1}")
            later_value = Signal.like(needed_value, name=f"needed_{stage + 1}")
            m.d.sync += [later_valid.eq(needed_valid), later_value.eq(needed_value)]
            needed_valid, needed_value = later_valid, later_value
        m.d.comb += [
            reports.valid.eq(valid[self.latency]),
            reports.beat.eq(write),
            reports.nonzero.eq(nonzero),
            reports.saturated.eq(saturated),
            reports.needed_valid.eq(needed_valid),
            reports.needed.eq(needed_value),
        ]

        # -- host accesses, between bursts ---------------------------------------------------------
        busy = Signal()
        read_waits = Signal()
        access = self.i_access.payload
        m.d.comb += [
            busy.eq(sequencer.active | reduce(or_, valid[1:])),
            sequencer.hold.eq(self.i_access.valid | read_waits),
            self.i_access.ready.eq(~busy & (~read_waits | self.o_weights.ready)),
            self.o_weights.valid.eq(read_waits),
            self.o_weights.payload.eq(memory.read_weights),
            memory.read_row.eq(beat[self._read_stage].row),
            memory.read_enable.eq(valid[self._read_stage]),
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

        # -- registers ----------------------------------------------------------------------------------
        m.submodules.bank = bank = RegisterBank()
        wiring.connect(m, wiring.flipped(self.bus), bank.bus)
        identity = registers.identity(config)
        m.d.comb += [
            bank.magic_value.eq(identity["magic"]),
            Cat(bank.version_gateware, bank.version_protocol).eq(identity["version"]),
            bank.digest_high_value.eq(identity["digest_high"]),
            bank.digest_low_value.eq(identity["digest_low"]),
            bank.status_busy.eq(busy),
            bank.status_floor.eq(sequencer.floor),
            bank.error_refusal.eq(sequencer.refused),
        ]
        taken = self.i_gradients.valid & self.i_gradients.ready
        for port, event in (
            (bank.clocks_value, sequencer.counting),
            (bank.beats_value, taken),
            (bank.stalls_value, sequencer.stalled),
            (bank.waits_value, sequencer.waiting),
        ):
            m.d.sync += port.eq(port + event)
        return m
