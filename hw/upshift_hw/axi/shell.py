"""The unit with packets instead of beats, and with commands and reports in registers.

Everything here has the unit's clock; `upshift_hw.axi.unit` takes it across to the bus.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig
from upshift.formats import Raw
from upshift.registers import Fault, ShellOperation
from upshift_hw.axi import lanes
from upshift_hw.axi.bank import ShellBank
from upshift_hw.axi.commands import OPERANDS, CommandQueue, Dispatcher
from upshift_hw.axi.framing import Framer, packet_layout
from upshift_hw.axi.lite import ANSWER, REQUEST
from upshift_hw.axi.reports import ReportQueue
from upshift_hw.units import unit_of

_IN_FLIGHT = 64
"""More commands than the unit and the queues around it can hold."""


def update_layout(config: UnitConfig) -> data.StructLayout:
    """Return a beat of the stream of updated rows; ``user`` is the row, and above it the mask."""
    return data.StructLayout(
        {
            "data": 8 * lanes.stream_bytes(config.weight, config.lanes),
            "user": layout.row_bits(config) + config.lanes,
            "last": 1,
        }
    )


class Shell(wiring.Component):
    """The unit behind packets and requests.

    Parameters
    ----------
    config : UnitConfig
    init : ndarray of int64, shape (depth,), optional
        Raw weights that a resident unit holds at first.

    Members
    -------
    request : In(stream), answer : Out(stream)
        Accesses to registers.
    gradients : In(stream)
        Packets of gradients, lanes in whole bytes.
    i_weights, o_weights : In(stream), Out(stream)
        Packets of weights, lanes in whole bytes.
    updates : Out(stream)
        With ``config.updates``: rows that were updated.
    interrupt : Out
    """

    def __init__(self, config: UnitConfig, init: Raw | None = None):
        self.config = config
        self.unit = unit_of(config, init)
        gradients = packet_layout(8 * lanes.stream_bytes(config.gradient, config.lanes))
        weights = packet_layout(8 * lanes.stream_bytes(config.weight, config.lanes))
        members = {
            "request": In(stream.Signature(REQUEST)),
            "answer": Out(stream.Signature(ANSWER)),
            "gradients": In(stream.Signature(gradients)),
            "i_weights": In(stream.Signature(weights)),
            "o_weights": Out(stream.Signature(weights)),
            "interrupt": Out(1),
        }
        if config.updates:
            members["updates"] = Out(stream.Signature(update_layout(config)))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.unit = unit = self.unit
        m.submodules.bank = bank = ShellBank()
        m.submodules.commands = commands = CommandQueue(config)
        m.submodules.dispatcher = dispatcher = Dispatcher(config)
        m.submodules.gradient_framer = gradients = Framer(config, len(self.gradients.payload.data))
        m.submodules.weight_framer = weights = Framer(config, len(self.i_weights.payload.data))
        m.submodules.reports = reports = ReportQueue(config)
        wiring.connect(m, wiring.flipped(self.request), bank.request)
        wiring.connect(m, bank.answer, wiring.flipped(self.answer))
        wiring.connect(m, bank.unit, unit.bus)
        wiring.connect(m, commands.o, dispatcher.i)
        wiring.connect(m, dispatcher.unit, unit.i_command)
        wiring.connect(m, wiring.flipped(self.gradients), gradients.i)
        wiring.connect(m, wiring.flipped(self.i_weights), weights.i)
        wiring.connect(m, gradients.result, reports.gradients)
        wiring.connect(m, weights.result, reports.weights)

        operation, elements, refusal = self._start_packets(m, dispatcher, gradients, weights)
        if config.memory == "streamed":
            self._streamed_rows(m, gradients, weights)
        else:
            self._resident_rows(m, gradients, weights, operation, refusal)
        if config.updates:
            self._updates(m)
        self._reports(m, dispatcher, reports, elements, refusal)
        busy = self._progress(m, commands, dispatcher, reports)

        framers = ((gradients, config.gradient), (weights, config.weight))
        padding = Cat(
            framer.o.valid
            & framer.o.ready
            & (
                lanes.misfits(framer.o.payload.data, fmt, config.lanes) & framer.o.payload.mask
            ).any()
            for framer, fmt in framers
        )
        faults = {
            Fault.GRADIENTS_EARLY: gradients.early,
            Fault.GRADIENTS_LATE: gradients.late,
            Fault.WEIGHTS_EARLY: weights.early,
            Fault.WEIGHTS_LATE: weights.late,
            Fault.PADDING: padding.any() & ~refusal.any(),
            Fault.OVERRUN: commands.overrun,
            Fault.OPERAND: commands.operand,
            Fault.REFUSED: reports.queued & reports.i.payload.refusal.any(),
        }
        m.d.comb += [
            commands.start.eq(bank.control_start),
            *(commands.operands[name].eq(getattr(bank, f"{name}_value")) for name in OPERANDS),
            reports.o.ready.eq(bank.control_next_report),
            bank.state_busy.eq(busy),
            bank.state_discarding.eq(gradients.discarding | weights.discarding),
            bank.state_room.eq(commands.room),
            bank.state_reports.eq(reports.level),
            *(bank.fault_cause[f.bit_length() - 1].eq(event) for f, event in faults.items()),
        ]
        self._show_report(m, bank, reports)
        self._interrupt(m, bank, busy, reports)
        return m

    def _start_packets(self, m, dispatcher, gradients, weights):
        """Start both framers with each plan; return its operation, elements and refusal."""
        streamed = self.config.memory == "streamed"
        operation = Signal.like(dispatcher.operation)
        elements = Signal.like(dispatcher.plan.elements)
        refusal = Signal.like(dispatcher.plan.refusal)
        reads = dispatcher.operation == ShellOperation.READ
        writes = dispatcher.operation == ShellOperation.WRITE
        updates = dispatcher.operation == ShellOperation.UPDATE
        has_beats = dispatcher.plan.has_beats
        m.d.comb += [
            gradients.plan.eq(dispatcher.plan),
            gradients.plan.has_beats.eq(has_beats & updates),
            weights.plan.eq(dispatcher.plan),
            # The packet of a refused command is taken all the same; a refused read sends none.
            weights.plan.has_beats.eq(
                has_beats
                & (updates if streamed else writes | (reads & ~dispatcher.plan.refusal.any()))
            ),
            weights.produce.eq(reads),
            dispatcher.take.eq(dispatcher.valid & gradients.free & weights.free),
            gradients.start.eq(dispatcher.take),
            weights.start.eq(dispatcher.take),
        ]
        with m.If(dispatcher.take):
            m.d.sync += [
                operation.eq(dispatcher.operation),
                elements.eq(Mux(dispatcher.plan.refusal.any(), 0, dispatcher.plan.elements)),
                refusal.eq(dispatcher.plan.refusal),
            ]
        return operation, elements, refusal

    def _tags(self, m, depth):
        """Send rows as the unit gives them, each with its tag; return the queue of the tags."""
        config, unit = self.config, self.unit
        m.submodules.tags = tags = fifo.SyncFIFO(width=2, depth=depth)
        end, drop = tags.r_data
        taken = unit.o_weights.valid & unit.o_weights.ready
        m.d.comb += [
            self.o_weights.valid.eq(unit.o_weights.valid & tags.r_rdy & ~drop),
            self.o_weights.payload.data.eq(
                lanes.to_bytes(unit.o_weights.payload, config.weight, config.lanes)
            ),
            self.o_weights.payload.last.eq(end),
            unit.o_weights.ready.eq(tags.r_rdy & (drop | self.o_weights.ready)),
            tags.r_en.eq(taken),
        ]
        return tags

    def _streamed_rows(self, m, gradients, weights):
        """Give the unit a gradient beat and a row together, and send one row for each taken."""
        config, unit = self.config, self.unit
        tags = self._tags(m, depth=32)
        beat, row = gradients.o.payload, weights.o.payload
        both = gradients.o.valid & weights.o.valid & tags.w_rdy
        words = lanes.from_bytes(beat.data, config.gradient, config.lanes)
        taken = both & unit.i_weights.ready
        m.d.comb += [
            unit.i_gradients.valid.eq(both),
            unit.i_weights.valid.eq(both),
            # Where there is no row, there is nothing to count either.
            Cat(unit.i_gradients.payload).eq(Mux(row.filled, 0, words)),
            Cat(unit.i_weights.payload).eq(lanes.from_bytes(row.data, config.weight, config.lanes)),
            gradients.o.ready.eq(taken),
            weights.o.ready.eq(taken),
            tags.w_en.eq(taken),
            tags.w_data.eq(Cat(row.end, row.filled)),
        ]

    def _resident_rows(self, m, gradients, weights, operation, refusal):
        """Give the unit its gradients, and make host accesses of packets of weights."""
        config, unit = self.config, self.unit
        tags = self._tags(m, depth=4)
        beat, row = gradients.o.payload, weights.o.payload
        write = operation == ShellOperation.WRITE
        swallow = write & (row.filled | refusal.any())
        room = write | tags.w_rdy
        taken = unit.i_access.valid & unit.i_access.ready
        m.d.comb += [
            unit.i_gradients.valid.eq(gradients.o.valid),
            gradients.o.ready.eq(unit.i_gradients.ready),
            Cat(unit.i_gradients.payload).eq(
                lanes.from_bytes(beat.data, config.gradient, config.lanes)
            ),
            unit.i_access.valid.eq(weights.o.valid & ~swallow & room),
            unit.i_access.payload.row.eq(row.row),
            unit.i_access.payload.write.eq(write),
            unit.i_access.payload.mask.eq(row.mask),
            unit.i_access.payload.weights.eq(
                lanes.from_bytes(row.data, config.weight, config.lanes)
            ),
            weights.o.ready.eq(swallow | (room & unit.i_access.ready)),
            tags.w_en.eq(taken & ~write),
            tags.w_data.eq(row.end),
        ]

    def _updates(self, m):
        """Send the rows that the unit has updated."""
        config, i = self.config, self.unit.o_updates
        weight = config.weight.width
        words = [i.payload.weights[j * weight : (j + 1) * weight] for j in range(config.lanes)]
        m.d.comb += [
            self.updates.valid.eq(i.valid),
            i.ready.eq(self.updates.ready),
            self.updates.payload.data.eq(lanes.to_bytes(words, config.weight, config.lanes)),
            self.updates.payload.user.eq(Cat(i.payload.row, i.payload.mask)),
            self.updates.payload.last.eq(i.payload.last),
        ]

    def _reports(self, m, dispatcher, reports, elements, refusal):
        """Queue the reports of the unit, and one for each host access."""
        unit = self.unit
        m.d.comb += dispatcher.ended.eq(dispatcher.accessing & reports.queued)
        with m.If(dispatcher.accessing):
            # Nothing else is under way, so the next results are those of the access.
            m.d.comb += [
                reports.i.valid.eq(1),
                reports.i.payload.elements.eq(elements),
                reports.i.payload.refusal.eq(refusal),
            ]
        with m.Else():
            m.d.comb += [
                reports.i.valid.eq(unit.o_report.valid),
                reports.i.payload.eq(unit.o_report.payload),
                unit.o_report.ready.eq(reports.i.ready),
            ]

    def _progress(self, m, commands, dispatcher, reports):
        """Count the unit's commands; return whether any command is under way."""
        unit = self.unit
        in_flight = Signal(range(_IN_FLIGHT))
        begun = unit.i_command.valid & unit.i_command.ready
        m.d.sync += in_flight.eq(in_flight + begun - (reports.queued & ~dispatcher.accessing))
        m.d.comb += dispatcher.idle.eq(in_flight == 0)
        return (commands.room != commands.depth) | ~dispatcher.idle | dispatcher.accessing

    def _show_report(self, m, bank, reports):
        """Show the oldest report in the registers; zeros when there is none."""
        entry = reports.o.payload
        report = entry.report
        with m.If(reports.o.valid):
            m.d.comb += [
                bank.report_elements_value.eq(report.elements),
                bank.report_nonzero_value.eq(report.nonzero),
                bank.report_saturated_value.eq(report.saturated),
                bank.report_nonfinite_value.eq(report.nonfinite),
                bank.report_needed_value.eq(report.needed),
                bank.report_flags_refusal.eq(report.refusal),
                bank.report_flags_needed_valid.eq(report.needed_valid),
                bank.report_flags_gradients_early.eq(entry.gradients.early),
                bank.report_flags_gradients_late.eq(entry.gradients.late),
                bank.report_flags_weights_early.eq(entry.weights.early),
                bank.report_flags_weights_late.eq(entry.weights.late),
                bank.report_flags_valid.eq(1),
                bank.report_gradients_value.eq(entry.gradients.beats),
                bank.report_weights_value.eq(entry.weights.beats),
            ]

    def _interrupt(self, m, bank, busy, reports):
        """Raise the interrupt while one of the reasons that are enabled holds."""
        was_busy = Signal()
        m.d.sync += [
            was_busy.eq(busy),
            self.interrupt.eq(
                (bank.interrupt_enable_done & bank.interrupt_done_held)
                | (bank.interrupt_enable_report & bank.interrupt_report)
                | (bank.interrupt_enable_fault & bank.interrupt_fault)
            ),
        ]
        m.d.comb += [
            bank.interrupt_done.eq(was_busy & ~busy),
            bank.interrupt_report.eq(reports.o.valid),
            bank.interrupt_fault.eq(bank.fault_cause_held.any()),
        ]
