"""Serves requests: queries whenever they come, commands once and in order."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig
from upshift.link.config import LinkConfig
from upshift.link.frames import ANSWERS, COMMANDS, NO_SESSION, Answer, Request, byte_width
from upshift.report import Refusal
from upshift_hw.link.answers import AnswerWriter
from upshift_hw.link.arguments import RequestArguments
from upshift_hw.link.checksum import Checksum
from upshift_hw.link.cobs import FRAME_BYTE
from upshift_hw.link.gradients import GradientDecoder
from upshift_hw.link.reports import ReportStore
from upshift_hw.link.requests import RequestReader
from upshift_hw.link.status import STATUS, StatusReader
from upshift_hw.link.weights import WeightStreamer
from upshift_hw.link.window import CommandWindow
from upshift_hw.registers import Bus
from upshift_hw.shapes import layout_of, shape_of

_COUNTERS = {field.name: field.width for field in STATUS}


class LinkEngine(wiring.Component):
    """Execute requests on a unit and answer them, one after the other.

    A request takes a clock per byte of it, three per byte of its answer and a few more; an UPDATE
    besides that the clocks that the unit needs after its last beat, and a CHECKSUM two clocks per
    byte of the weights and one per weight.

    Parameters
    ----------
    config : UnitConfig
    link : LinkConfig

    Members
    -------
    i : In(stream)
        Whole frames, without their checks.
    o : Out(stream)
        Answers, the last byte of each marked.
    frames, rejected : In
        What the receiver has counted.
    busy : Out
        A request is being served.
    unit_reset : Out
        Reset the unit.
    command, gradients, report, access, weights, bus
        To be connected to the unit's ports.
    """

    def __init__(self, config: UnitConfig, link: LinkConfig):
        self.config = config
        self.link = link
        beat = data.ArrayLayout(shape_of(config.gradient), config.lanes)
        row = data.ArrayLayout(shape_of(config.weight), config.lanes)
        super().__init__(
            {
                "i": In(stream.Signature(8)),
                "o": Out(stream.Signature(FRAME_BYTE)),
                "frames": In(_COUNTERS["frames"]),
                "rejected": In(_COUNTERS["rejected"]),
                "busy": Out(1),
                "unit_reset": Out(1),
                "command": Out(stream.Signature(layout_of(layout.command(config)))),
                "gradients": Out(stream.Signature(beat)),
                "report": In(stream.Signature(layout_of(layout.report(config)))),
                "access": Out(stream.Signature(layout_of(layout.access(config)))),
                "weights": In(stream.Signature(row)),
                "bus": Out(Bus),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.requests = requests = RequestReader(self.link)
        m.submodules.arguments = arguments = RequestArguments(self.config, self.link)
        m.submodules.window = window = CommandWindow()
        m.submodules.decoder = decoder = GradientDecoder(self.config)
        m.submodules.streamer = streamer = WeightStreamer(self.config)
        m.submodules.checksum = Checksum()
        m.submodules.reports = reports = ReportStore(self.config, self.link)
        m.submodules.status = status = StatusReader()
        m.submodules.answers = answers = AnswerWriter(self.link)
        for inner, outer in (
            (requests.i, self.i),
            (decoder.o, self.gradients),
            (streamer.access, self.access),
            (streamer.row, self.weights),
            (status.bus, self.bus),
            (answers.o, self.o),
        ):
            wiring.connect(m, inner, wiring.flipped(outer))
        m.d.comb += [
            requests.session.eq(window.session),
            arguments.kind.eq(requests.kind),
            arguments.fields.eq(requests.arguments),
            window.number.eq(
                Mux(requests.kind == Request.RECALL, arguments.recalled, requests.number)
            ),
            window.new_session.eq(arguments.new_session),
            self.unit_reset.eq(window.begin),
            self.command.payload.eq(arguments.command),
            decoder.first_lane.eq(arguments.base),
            decoder.masked.eq(arguments.masked),
            decoder.i.payload.eq(requests.data.payload),
            streamer.base.eq(arguments.base),
            streamer.count.eq(arguments.count),
            streamer.write.eq(requests.kind == Request.WRITE),
            streamer.i.payload.eq(requests.data.payload),
            reports.slot.eq(window.number),
            reports.report.eq(self.report.payload),
            reports.elements.eq(Mux(reports.refusal.any(), 0, arguments.count)),
            status.next.eq(window.next),
            status.frames.eq(self.frames),
            status.rejected.eq(self.rejected),
        ]
        answer = Signal(Answer, init=Answer.STATUS)
        self._answer(m, answer)
        self._serve(m, answer)
        return m

    def _answer(self, m, answer):
        """Connect what answers are made of."""
        requests, arguments = m.submodules.requests, m.submodules.arguments
        reports, status = m.submodules.reports, m.submodules.status
        answers, streamer = m.submodules.answers, m.submodules.streamer
        checksum = m.submodules.checksum
        payload = answers.payload
        m.d.comb += [
            answers.kind.eq(answer),
            answers.number.eq(requests.number),
            answers.session.eq(m.submodules.window.session),
            payload.valid.eq(1),
            reports.place.eq(answers.place),
            reports.identity.eq(answer == Answer.IDENTITY),
            status.place.eq(answers.place),
            checksum.i.payload.eq(streamer.o.payload),
        ]
        with m.Switch(answer):
            for kind, source in (
                (Answer.IDENTITY, reports.shown),
                (Answer.REPORT, reports.shown),
                (Answer.CHECKSUM, checksum.value.word_select(answers.place[:2], 8)),
                (Answer.STATUS, status.shown),
                (Answer.GAP, status.shown),
            ):
                with m.Case(kind):
                    m.d.comb += [
                        answers.length.eq(byte_width(ANSWERS[kind])),
                        payload.payload.eq(source),
                    ]
            with m.Case(Answer.WEIGHTS):
                m.d.comb += [
                    answers.length.eq(arguments.size),
                    payload.payload.eq(streamer.o.payload),
                    payload.valid.eq(streamer.o.valid),
                ]
            with m.Case(Answer.TEST):
                m.d.comb += [
                    answers.length.eq(arguments.size),
                    payload.payload.eq(Mux(requests.more, requests.data.payload, answers.place)),
                    payload.valid.eq(requests.data.valid),
                ]

    def _serve(self, m, answer):
        """Take one request after the other."""
        requests, window = m.submodules.requests, m.submodules.window
        decoder, streamer = m.submodules.decoder, m.submodules.streamer
        reports, status = m.submodules.reports, m.submodules.status
        answers, checksum = m.submodules.answers, m.submodules.checksum
        gap_sent = Signal()
        with m.FSM() as serving:
            m.d.comb += self.busy.eq(~serving.ongoing("IDLE") | requests.busy)
            with m.State("IDLE"):
                m.d.comb += checksum.restart.eq(1)
                with m.If(requests.valid):
                    m.next = "REQUEST"
            with m.State("REQUEST"):  # checks need a clock
                self._dispatch(m, answer, gap_sent)
            with m.State("COMMAND"):
                m.d.comb += self.command.valid.eq(1)
                with m.If(self.command.ready):
                    m.next = "BURST"
            with m.State("BURST"):
                m.d.comb += [
                    decoder.enable.eq(1),
                    decoder.i.valid.eq(requests.data.valid),
                    requests.data.ready.eq(decoder.i.ready),
                ]
                with m.If(self.report.valid):
                    m.next = "STORE"
            with m.State("WRITE"):
                m.d.comb += [
                    streamer.enable.eq(1),
                    streamer.i.valid.eq(requests.data.valid),
                    requests.data.ready.eq(streamer.i.ready),
                ]
                with m.If(streamer.done):
                    m.next = "STORE"
            with m.State("STORE"):
                m.d.comb += reports.store.eq(1)
                with m.If(reports.stored):
                    refusal = Mux(reports.from_unit, self.report.payload.refusal, reports.refusal)
                    m.d.comb += [
                        self.report.ready.eq(reports.from_unit),
                        window.advance.eq(1),
                    ]
                    m.d.sync += [
                        status.refused.eq(status.refused | refusal),
                        gap_sent.eq(0),
                        answer.eq(Answer.REPORT),
                    ]
                    m.next = "ANSWER"
            with m.State("CHECKSUM"):
                m.d.comb += [
                    streamer.enable.eq(1),
                    checksum.i.valid.eq(streamer.o.valid),
                    streamer.o.ready.eq(checksum.i.ready),
                ]
                with m.If(streamer.done):
                    m.d.sync += answer.eq(Answer.CHECKSUM)
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += [
                    answers.enable.eq(1),
                    streamer.enable.eq(answer == Answer.WEIGHTS),
                    streamer.o.ready.eq(answers.payload.ready),
                    requests.data.ready.eq(answers.payload.ready),
                ]
                with m.If(answers.done):
                    m.d.comb += requests.finish.eq(1)
                    m.next = "IDLE"

    def _dispatch(self, m, answer, gap_sent):
        """Decide what is done about a request."""
        requests, arguments = m.submodules.requests, m.submodules.arguments
        window, status = m.submodules.window, m.submodules.status
        m.d.sync += answer.eq(Answer.STATUS)
        m.next = "ANSWER"
        with m.If(requests.known & ~requests.short), m.Switch(requests.kind):
            with m.Case(Request.IDENTIFY):
                m.d.sync += answer.eq(Answer.IDENTITY)
            with m.Case(Request.STATUS):
                m.d.sync += gap_sent.eq(0)
            with m.Case(Request.READ), m.If(arguments.in_memory & arguments.fits):
                m.d.sync += answer.eq(Answer.WEIGHTS)
            with m.Case(Request.CHECKSUM), m.If(arguments.in_memory):
                m.next = "CHECKSUM"
            with m.Case(Request.RECALL), m.If(window.is_kept):
                m.d.sync += answer.eq(Answer.REPORT)
            with m.Case(Request.TEST), m.If(arguments.fits):
                m.d.sync += answer.eq(Answer.TEST)
            with m.Case(Request.BEGIN):
                m.d.sync += gap_sent.eq(0)
                with m.If(requests.in_session & (arguments.new_session != NO_SESSION)):
                    m.d.comb += window.begin.eq(1)
                    m.d.sync += status.refused.eq(0)
            with m.Case(*COMMANDS):
                of_session = requests.in_session & (window.session != NO_SESSION)
                with m.If(of_session & window.is_next):
                    self._execute(m)
                with m.Elif(of_session & window.is_kept):
                    m.d.sync += [
                        status.repeated.eq(status.repeated + 1),
                        answer.eq(Answer.REPORT),
                    ]
                with m.Else():
                    m.d.sync += [gap_sent.eq(1), answer.eq(Answer.GAP)]
                    with m.If(gap_sent):
                        m.d.comb += requests.finish.eq(1)
                        m.next = "IDLE"

    def _execute(self, m):
        """Start the command that comes next, or refuse it."""
        requests, arguments = m.submodules.requests, m.submodules.arguments
        reports = m.submodules.reports
        m.next = "STORE"
        with m.If(requests.kind == Request.WRITE):
            m.d.sync += [
                reports.from_unit.eq(0),
                reports.refusal.eq(Mux(arguments.in_memory, 0, Refusal.RANGE)),
            ]
            with m.If(arguments.in_memory):
                m.next = "WRITE"
        with m.Else():
            m.d.sync += [
                reports.from_unit.eq(~arguments.too_large.any()),
                reports.refusal.eq(arguments.too_large),
            ]
            with m.If(~arguments.too_large.any()):
                m.next = "COMMAND"
