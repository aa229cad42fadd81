"""The tables of the link's page, and one exchange with a board, byte by byte."""

from __future__ import annotations

from upshift import layout
from upshift.config import UnitConfig
from upshift.layout import Fields
from upshift.link import cobs, frames
from upshift.link.board import BoardModel
from upshift.link.config import LinkConfig
from upshift.link.frames import Frame, Request


def _table(fields: Fields) -> list[str]:
    lines = ["| byte | bytes | field | meaning |", "|---:|---:|---|---|"]
    for offset, field in layout.places(fields):
        sign = ", signed" if field.signed else ""
        lines.append(f"| {offset // 8} | {field.width // 8} | `{field.name}` | {field.doc}{sign} |")
    return lines


def tables() -> str:
    """Return the fields of the header and of all payloads; equal payloads share a table."""
    names: dict[Fields, list[str]] = {}
    for name, fields in frames.tables():
        names.setdefault(fields, []).append(name)
    lines = []
    for fields, sharing in names.items():
        title = ", ".join(sharing)
        if fields:
            lines += [f"**{title}**, {frames.byte_width(fields)} bytes", "", *_table(fields), ""]
        else:
            lines += [f"**{title}**: no fields", ""]
    return "\n".join(lines[:-1]) + "\n"


def example() -> str:
    """Return what a new board and a host say to one another until the first update."""
    config = UnitConfig(lanes=4, depth=16)
    board = BoardModel(config, LinkConfig(clock=48_000_000, baud=3_000_000))
    session = 0x1234ABCD
    arguments = frames.ARGUMENTS
    begin = frames.pack(arguments[Request.BEGIN], {"session": session})
    write = frames.pack(arguments[Request.WRITE], {"base": 0, "count": 2})
    update = frames.pack(
        arguments[Request.UPDATE], {"base": 0, "count": 2, "rate": 1, "resolution": 8}
    )
    word = (1 << 14).to_bytes(3, "little")
    steps = [
        ("BEGIN session 0x1234abcd", Frame(Request.BEGIN, 1, 0, begin)),
        ("WRITE 0.25 to weights 0 and 1", Frame(Request.WRITE, 0, session, write + 2 * word)),
        (
            "UPDATE with the gradients 0.5 and -0.5, k = 1, q = 8",
            Frame(
                Request.UPDATE,
                1,
                session,
                update
                + (1 << 11).to_bytes(2, "little")
                + (-(1 << 11) & 0xFFFF).to_bytes(2, "little"),
            ),
        ),
        (
            "READ weights 0 and 1: they are 0 and 0.5",
            Frame(Request.READ, 2, session, frames.pack(arguments[Request.READ], {"count": 2})),
        ),
    ]
    lines = ["```text"]
    for what, frame in steps:
        sent = cobs.encode(frame.to_bytes()) + b"\0"
        lines += [what, *_hex("  host  ", sent), *_hex("  board ", board.receive(sent))]
    return "\n".join([*lines, "```"]) + "\n"


def _hex(prefix: str, data: bytes) -> list[str]:
    rows = [data[n : n + 24].hex(" ") for n in range(0, len(data), 24)]
    return [(prefix if not n else " " * len(prefix)) + row for n, row in enumerate(rows)]
