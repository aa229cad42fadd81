"""What a board does, byte for byte: the executable specification of the link.

`BoardModel` takes the bytes that a host sends and returns those that a board answers. Drivers are
tested against it, and the gateware is compared with it. It has no clock: it answers at once, never
runs out of room, and counts each beat as one clock.
"""

from __future__ import annotations

from collections import deque

from upshift import layout, words
from upshift.config import UnitConfig
from upshift.layout import Operation
from upshift.link import gradients
from upshift.link.config import LinkConfig, check_unit
from upshift.link.frames import (
    ANSWERS,
    ARGUMENTS,
    COMMANDS,
    HEADER,
    NO_SESSION,
    TOO_LARGE,
    WINDOW,
    Answer,
    Frame,
    Request,
    byte_width,
    identity,
    max_payload,
    pack,
    unpack,
)
from upshift.link.framing import FrameReader, to_line
from upshift.reference import Command, Unit
from upshift.report import Refusal

_NUMBERS = 1 << next(field.width for field in HEADER if field.name == "sequence")
_COUNTER = 1 << 32


class BoardModel:
    """A board without its clock.

    A payload that ends before its data do goes on with zeros, in WRITE as in UPDATE; what is left
    over is ignored, and so are the bits of a word beyond its width, and those of `encoding` but
    the lowest. That a payload is too short for its fields is seen before anything else.

    Parameters
    ----------
    config : UnitConfig
    link : LinkConfig

    Raises
    ------
    ValueError
        If such a unit cannot stand behind a link.

    Attributes
    ----------
    session : int
        The session that the board is in; 0 at first.
    next : int
        Sequence number of the command that comes next.
    unit : upshift.reference.Unit
        The update unit.
    repeated : int
        Commands that came again; like `frames` and `rejected`, it goes on from session to session.
    """

    def __init__(self, config: UnitConfig, link: LinkConfig):
        check_unit(config)
        self.config = config
        self.link = link
        self.power_cycle()

    def power_cycle(self) -> None:
        """Configure the board anew: its weights are lost."""
        self.unit = Unit(self.config)
        self.repeated = 0
        self._reader = FrameReader(self.link.frame_bytes)
        self._begin(NO_SESSION)

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the host and return the answers."""
        answers = []
        for request in self._reader.feed(data):
            answer = self._serve(request)
            if answer is not None:
                kind, payload = answer
                answers.append(to_line(Frame(kind, request.sequence, self.session, payload)))
        return b"".join(answers)

    @property
    def frames(self) -> int:
        """Frames received whole."""
        return self._reader.frames

    @property
    def rejected(self) -> int:
        """Frames dropped: cut, damaged or too long."""
        return self._reader.rejected

    def _serve(self, request: Frame) -> tuple[Answer, bytes] | None:
        """Return kind and payload of the answer."""
        if request.kind not in ARGUMENTS:
            return self._status()
        kind = Request(request.kind)
        size = byte_width(ARGUMENTS[kind])
        if len(request.payload) < size:
            return self._status()
        values, data = unpack(ARGUMENTS[kind], request.payload), request.payload[size:]
        if kind in COMMANDS:
            return self._command(request, kind, values, data)
        if kind == Request.BEGIN:
            if request.session == self.session and values["session"] != NO_SESSION:
                self._begin(values["session"])
            self._gap_sent = False
        if kind == Request.STATUS:
            self._gap_sent = False
        return self._query(kind, values, data)

    def _begin(self, session: int) -> None:
        self.session = session
        self.next = 0
        self.unit.floor = 0
        self._refused = Refusal(0)
        self._beats = 0
        self._reports: deque[bytes] = deque(maxlen=WINDOW)
        self._gap_sent = False

    # -- queries --------------------------------------------------------------------------------

    def _query(self, kind: Request, values: dict[str, int], data: bytes) -> tuple[Answer, bytes]:
        if kind == Request.IDENTIFY:
            fields = ANSWERS[Answer.IDENTITY]
            return Answer.IDENTITY, pack(fields, identity(self.config, self.link))
        answer = None
        if kind in (Request.READ, Request.CHECKSUM):
            answer = self._weights(kind, values["base"], values["count"])
        elif kind == Request.RECALL and (report := self._kept(values["command"])) is not None:
            answer = Answer.REPORT, report
        elif kind == Request.TEST and values["count"] <= max_payload(self.link.frame_bytes):
            more = range(len(data), values["count"])
            answer = Answer.TEST, data[: values["count"]] + bytes(i % 256 for i in more)
        return answer or self._status()

    def _weights(self, kind: Request, base: int, count: int) -> tuple[Answer, bytes] | None:
        width = self.config.weight.width
        size = count * words.word_bytes(width)
        if base + count > self.config.depth:
            return None
        weights = self.unit.weights[base : base + count]
        if kind == Request.CHECKSUM:
            checksum = {"checksum": words.checksum(weights, width)}
            return Answer.CHECKSUM, pack(ANSWERS[Answer.CHECKSUM], checksum)
        if size > max_payload(self.link.frame_bytes):
            return None
        return Answer.WEIGHTS, words.to_bytes(weights, width)

    def _status(self, kind: Answer = Answer.STATUS) -> tuple[Answer, bytes]:
        values = {
            "next": self.next,
            "floor": self.unit.floor,
            "refused": int(self._refused),
            "frames": self.frames,
            "rejected": self.rejected,
            "repeated": self.repeated,
            "clocks": self._beats,
            "beats": self._beats,
        }
        return kind, pack(ANSWERS[kind], values)

    def _kept(self, sequence: int) -> bytes | None:
        """Return the report of one of the last commands of this session."""
        back = (self.next - sequence) % _NUMBERS
        return self._reports[-back] if 1 <= back <= len(self._reports) else None

    # -- commands -------------------------------------------------------------------------------

    def _command(
        self, request: Frame, kind: Request, values: dict[str, int], data: bytes
    ) -> tuple[Answer, bytes] | None:
        if request.session == self.session != NO_SESSION:
            if request.sequence == self.next:
                report = pack(ANSWERS[Answer.REPORT], self._execute(kind, values, data))
                self._reports.append(report)
                self.next = (self.next + 1) % _NUMBERS
                self._gap_sent = False
                return Answer.REPORT, report
            kept = self._kept(request.sequence)
            if kept is not None:
                self.repeated = (self.repeated + 1) % _COUNTER
                return Answer.REPORT, kept
        if self._gap_sent:
            return None
        self._gap_sent = True
        return self._status(Answer.GAP)

    def _execute(self, kind: Request, values: dict[str, int], data: bytes) -> dict[str, int]:
        """Execute or refuse a command and return the fields of its report."""
        if kind == Request.WRITE:
            report = self._write(values["base"], values["count"], data)
        elif refusal := self._too_large(values):
            report = {"refusal": int(refusal)}
        elif kind == Request.RAISE:
            command = Command(Operation.RAISE, resolution=values["resolution"])
            report = self.unit.execute(command, ())
        else:
            report = self._update(values, data)
        self._refused |= Refusal(report.get("refusal", 0))
        return report

    def _write(self, base: int, count: int, data: bytes) -> dict[str, int]:
        if base + count > self.config.depth:
            return {"refusal": int(Refusal.RANGE)}
        self.unit.weights[base : base + count] = gradients.dense(self.config.weight, count, data)
        return {"elements": count}

    def _update(self, values: dict[str, int], data: bytes) -> dict[str, int]:
        base, count = values["base"], values["count"]
        command = Command(Operation.UPDATE, base, count, values["rate"], values["resolution"])
        if count:  # refused bursts take their beats as well
            self._beats = (self._beats + self.config.beats(base, count)) % _COUNTER
        if values["encoding"] & 1:
            raw = gradients.masked(self.config, base, count, data)
        else:
            raw = gradients.dense(self.config.gradient, count, data)
        return self.unit.execute(command, raw)

    def _too_large(self, values: dict[str, int]) -> Refusal:
        """Return the causes for which the unit's command cannot even hold the values."""
        refusal = Refusal(0)
        for field in layout.command(self.config):
            if values.get(field.name, 0) >> field.width:
                refusal |= TOO_LARGE[field.name]
        return refusal
