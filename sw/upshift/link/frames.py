"""The frames of the link, field by field: the one description that host and gateware use.

A frame is a header, a payload and a CRC-32 of both, stuffed by COBS and ended by a zero byte. All
numbers are little-endian and whole bytes wide. `docs/link.md` tells what boards and drivers do
with them.
"""

from __future__ import annotations

import enum
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from upshift import layout, registers
from upshift.config import UnitConfig
from upshift.formats import Fixed, Format, bfloat16, float32
from upshift.layout import Field, Fields
from upshift.link.config import LinkConfig
from upshift.registers import MAGIC
from upshift.report import Refusal

WINDOW = 16
"""Commands whose reports a board keeps, and so the most that may be unanswered."""

NO_SESSION = 0
"""The session of a board that has just been configured, or reset."""


class Request(enum.IntEnum):
    """What a host sends. Queries change nothing; commands are executed once, in order."""

    IDENTIFY = 0x01
    """Query: what board is this? Answered by IDENTITY."""
    STATUS = 0x02
    """Query: what was executed? Answered by STATUS."""
    READ = 0x03
    """Query: weights. Answered by WEIGHTS."""
    CHECKSUM = 0x04
    """Query: CRC-32 of weights, as READ would send them. Answered by CHECKSUM."""
    RECALL = 0x05
    """Query: the report of one of the last WINDOW commands. Answered by REPORT."""
    TEST = 0x06
    """Query: bytes to send back. Answered by TEST."""
    BEGIN = 0x08
    """Begin another session, if the header names the present one. Answered by STATUS."""
    WRITE = 0x10
    """Command: write weights. Answered by REPORT."""
    UPDATE = 0x11
    """Command: update weights by one burst. Answered by REPORT."""
    RAISE = 0x12
    """Command: raise the floor of the resolution. Answered by REPORT."""


COMMANDS = frozenset({Request.WRITE, Request.UPDATE, Request.RAISE})

TOO_LARGE = {
    "base": Refusal.RANGE,
    "count": Refusal.RANGE,
    "rate": Refusal.RATE,
    "resolution": Refusal.FRACTION,
}
"""Why a command is refused that has a value too large for that field of the unit's commands."""


class Answer(enum.IntEnum):
    """What a board sends; `sequence` is that of the request."""

    IDENTITY = 0x81
    STATUS = 0x82
    """Also the answer to a request that the board cannot serve."""
    WEIGHTS = 0x83
    CHECKSUM = 0x84
    REPORT = 0x85
    TEST = 0x86
    GAP = 0x88
    """The status again, unasked: a command came that is not the next one."""


class Encoding(enum.IntEnum):
    """How the gradients of an UPDATE are sent."""

    DENSE = 0
    """Every element, in order."""
    MASKED = 1
    """Per beat a mask of its lanes, then the words of the lanes in it; the others are zero."""


HEADER: Fields = (
    Field("kind", 8, "request or answer"),
    Field("sequence", 16, "number of a command, or the tag of a query; answers repeat it"),
    Field("length", 16, "bytes of payload"),
    Field("session", 32, "session that the sender is in"),
)

_WORDS: Fields = (
    Field("base", 32, "first weight"),
    Field("count", 16, "number of weights"),
)

ARGUMENTS: dict[Request, Fields] = {
    Request.IDENTIFY: (),
    Request.STATUS: (),
    Request.READ: _WORDS,
    Request.CHECKSUM: (
        Field("base", 32, "first weight"),
        Field("count", 32, "number of weights"),
    ),
    Request.RECALL: (Field("command", 16, "sequence of the command"),),
    Request.TEST: (Field("count", 16, "bytes to answer with"),),
    Request.BEGIN: (Field("session", 32, "the session to begin, not 0"),),
    Request.WRITE: _WORDS,
    Request.UPDATE: (
        Field("base", 32, "first weight"),
        Field("count", 16, "number of gradients"),
        Field("rate", 8, "k of the learning rate 2**-k"),
        Field("resolution", 8, "q"),
        Field("encoding", 8, "0 dense, 1 masked"),
    ),
    Request.RAISE: (Field("resolution", 8, "the new floor"),),
}
"""What a request's payload begins with. WRITE, UPDATE and TEST have data behind it."""


def _report() -> Fields:
    """Return the fields of the unit's reports, each in whole bytes."""
    widths = {"needed_valid": 8, "refusal": 8}
    return tuple(
        Field(field.name, widths.get(field.name, 16), field.doc, field.signed)
        for field in layout.report(UnitConfig())
    )


def _register_fields(*names: str) -> Fields:
    return tuple(Field(name, 32, registers.BY_NAME[name].doc) for name in names)


ANSWERS: dict[Answer, Fields] = {
    Answer.IDENTITY: (
        *_register_fields(*registers.identity(UnitConfig())),
        Field("lanes", 8, "weights per beat"),
        Field("weight_width", 8, "bits of a weight"),
        Field("weight_fraction", 8, "fraction bits of a weight"),
        Field("gradient_kind", 8, "0 fixed point, 1 floating point"),
        Field("gradient_width", 8, "bits of a gradient"),
        Field("gradient_fraction", 8, "its fraction bits, or mantissa bits"),
        Field("max_rate", 8, "largest k"),
        Field("pipeline", 8, "clocks from a gradient beat to the write of its weights"),
        Field("window", 8, "commands that may be unanswered"),
        Field("depth", 32, "weights held"),
        Field("frame_bytes", 16, "longest frame, header and check included, before stuffing"),
        Field("clock", 32, "clock in Hz"),
        Field("baud", 32, "line rate in bits per second"),
    ),
    Answer.STATUS: (
        Field("next", 16, "sequence of the command that comes next"),
        Field("floor", 8, "lowest resolution that is accepted"),
        Field("refused", 8, "causes of refused commands since configuration"),
        Field("frames", 32, "frames received whole"),
        Field("rejected", 32, "frames dropped: cut, damaged, too long, or no room"),
        Field("repeated", 32, "commands that came again and were not executed again"),
        *_register_fields("clocks", "beats", "stalls", "waits"),
    ),
    Answer.WEIGHTS: (),
    Answer.CHECKSUM: (Field("checksum", 32, "CRC-32 of the weights"),),
    Answer.REPORT: _report(),
    Answer.TEST: (),
}
ANSWERS[Answer.GAP] = ANSWERS[Answer.STATUS]

CHECK_BYTES = 4
HEADER_BYTES = layout.width(HEADER) // 8


def byte_width(fields: Fields) -> int:
    """Return the bytes that fields take in a frame."""
    return layout.width(fields) // 8


def pack(fields: Fields, values: Mapping[str, int]) -> bytes:
    """Return fields as bytes; raises ValueError if a value does not fit its field."""
    return layout.pack(fields, values).to_bytes(byte_width(fields), "little")


def unpack(fields: Fields, data: bytes) -> dict[str, int]:
    """Return the field values at the beginning of `data`.

    Raises
    ------
    ValueError
        If `data` is too short.
    """
    size = byte_width(fields)
    if len(data) < size:
        raise ValueError(f"{len(data)} bytes are too few for {size} bytes of fields")
    return layout.unpack(fields, int.from_bytes(data[:size], "little"))


@dataclass(frozen=True)
class Frame:
    """One frame, whole and checked."""

    kind: int
    sequence: int
    session: int
    payload: bytes

    def to_bytes(self) -> bytes:
        """Return header, payload and check, before stuffing."""
        header = {
            "kind": self.kind,
            "sequence": self.sequence,
            "length": len(self.payload),
            "session": self.session,
        }
        body = pack(HEADER, header) + self.payload
        return body + zlib.crc32(body).to_bytes(CHECK_BYTES, "little")

    @classmethod
    def from_bytes(cls, data: bytes) -> Frame:
        """Return the frame in unstuffed bytes.

        Raises
        ------
        ValueError
            If it is cut, its check is wrong, or its length is not what the header says.
        """
        body, check = data[:-CHECK_BYTES], data[-CHECK_BYTES:]
        header = unpack(HEADER, body)
        if zlib.crc32(body) != int.from_bytes(check, "little"):
            raise ValueError("the frame's check is wrong")
        payload = body[HEADER_BYTES:]
        if len(payload) != header["length"]:
            raise ValueError(f"{len(payload)} bytes of payload, not {header['length']}")
        return cls(header["kind"], header["sequence"], header["session"], payload)


def max_payload(frame_bytes: int) -> int:
    """Return the longest payload of a request to a board with that frame length."""
    return frame_bytes - HEADER_BYTES - CHECK_BYTES


def identity(config: UnitConfig, link: LinkConfig) -> dict[str, int]:
    """Return the values of an IDENTITY answer."""
    fixed = isinstance(config.gradient, Fixed)
    gradient = config.gradient
    return registers.identity(config) | {
        "lanes": config.lanes,
        "weight_width": config.weight.width,
        "weight_fraction": config.weight.fraction,
        "gradient_kind": 0 if fixed else 1,
        "gradient_width": gradient.width,
        "gradient_fraction": gradient.fraction
        if isinstance(gradient, Fixed)
        else gradient.mantissa,
        "max_rate": config.max_rate,
        "pipeline": config.pipeline,
        "window": WINDOW,
        "depth": config.depth,
        "frame_bytes": link.frame_bytes,
        "clock": link.clock,
        "baud": link.baud,
    }


def configuration(values: Mapping[str, int]) -> UnitConfig:
    """Return the configuration that an IDENTITY answer describes.

    Raises
    ------
    ValueError
        If this is no update unit, its versions are not those of this package, the digest is not
        that of the configuration, or a number is impossible. The message says which.
    """
    if values["magic"] != MAGIC:
        raise ValueError(f"magic number {values['magic']:#010x} is not an update unit's")
    expected = registers.identity(UnitConfig())["version"]
    if values["version"] != expected:
        raise ValueError(f"version {values['version']:#010x} is not {expected:#010x}")
    width, fraction = values["gradient_width"], values["gradient_fraction"]
    kind = values["gradient_kind"]
    floats: dict[int, Format] = {bfloat16.width: bfloat16, float32.width: float32}
    gradient = Fixed(width, fraction) if kind == 0 else floats.get(width)
    if gradient is None or kind > 1:
        raise ValueError(f"gradients of kind {kind} with {width} bits are not known")
    if values["window"] < 1:
        raise ValueError("a window of 0 commands is not allowed: 1 or more")
    LinkConfig(values["clock"], values["baud"], values["frame_bytes"])
    config = UnitConfig(
        lanes=values["lanes"],
        weight=Fixed(values["weight_width"], values["weight_fraction"]),
        gradient=gradient,
        depth=values["depth"],
        max_rate=values["max_rate"],
        pipeline=values["pipeline"],
    )
    for name, value in registers.identity(config).items():
        if values[name] != value:
            raise ValueError(
                f"{name} {values[name]:#010x} is not {value:#010x}, that of {config.to_json()}"
            )
    return config


def tables() -> Iterator[tuple[str, Fields]]:
    """Yield the name and fields of the header and of each payload, for the documentation."""
    yield "header", HEADER
    for request, fields in ARGUMENTS.items():
        yield f"{request:#04x} {request.name}", fields
    for answer, fields in ANSWERS.items():
        yield f"{answer:#04x} {answer.name}", fields
