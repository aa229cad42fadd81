"""The register map of the update unit: one table, used by gateware, drivers and documentation.

Registers are 32 bits wide and word-addressed. Fields are read-only (``r``) or read and cleared
by writing one (``w1c``).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

from upshift.config import UnitConfig
from upshift.report import Refusal

MAGIC = int.from_bytes(b"UPSH", "big")
PROTOCOL_VERSION = 1
GATEWARE_VERSION = 1


@dataclass(frozen=True)
class RegisterField:
    """Bits `offset` to ``offset + width - 1`` of a register."""

    name: str
    offset: int
    width: int
    access: Literal["r", "w1c"]
    doc: str


@dataclass(frozen=True)
class Register:
    """One 32-bit register."""

    name: str
    address: int
    doc: str
    fields: tuple[RegisterField, ...]


def _whole(name: str, address: int, doc: str) -> Register:
    return Register(name, address, doc, (RegisterField("value", 0, 32, "r", doc),))


REGISTERS: tuple[Register, ...] = (
    _whole("magic", 0, f"{MAGIC:#010x}, ASCII UPSH"),
    Register(
        "version",
        1,
        "versions",
        (
            RegisterField("gateware", 0, 16, "r", "gateware version"),
            RegisterField("protocol", 16, 16, "r", "version of commands, reports and registers"),
        ),
    ),
    _whole("digest_high", 2, "first 32 bits of the configuration's SHA-256"),
    _whole("digest_low", 3, "next 32 bits of the configuration's SHA-256"),
    Register(
        "status",
        4,
        "state of the unit",
        (
            RegisterField("busy", 0, 1, "r", "a burst is in progress or its last writes are"),
            RegisterField("floor", 8, 8, "r", "lowest resolution that is accepted"),
        ),
    ),
    Register(
        "error",
        5,
        "causes of refused commands since they were last cleared",
        (
            RegisterField(
                "refusal",
                0,
                len(Refusal),
                "w1c",
                ", ".join(f"bit {r.bit_length() - 1} {(r.name or '').lower()}" for r in Refusal),
            ),
        ),
    ),
    _whole("clocks", 6, "clocks with a burst in progress, or one waiting for a report slot"),
    _whole("beats", 7, "gradient beats taken"),
    _whole("stalls", 8, "of these clocks, those that waited for a gradient or a report slot"),
    _whole("waits", 9, "of these clocks, those that waited for a weight in flight"),
)

BY_NAME = {register.name: register for register in REGISTERS}


def identity(config: UnitConfig) -> dict[str, int]:
    """Return the values that the identity registers of a unit must have."""
    digest = bytes.fromhex(config.digest)
    return {
        "magic": MAGIC,
        "version": PROTOCOL_VERSION << 16 | GATEWARE_VERSION,
        "digest_high": int.from_bytes(digest[:4], "big"),
        "digest_low": int.from_bytes(digest[4:8], "big"),
    }


def to_json() -> str:
    """Return the register map as JSON."""
    return json.dumps([asdict(register) for register in REGISTERS], indent=2) + "\n"


def to_markdown() -> str:
    """Return the register map as a Markdown table."""
    lines = [
        "| address | register | bits | field | access | meaning |",
        "|---|---|---|---|---|---|",
    ]
    for register in REGISTERS:
        for field in register.fields:
            top = field.offset + field.width - 1
            bits = f"{top}:{field.offset}" if field.width > 1 else f"{field.offset}"
            lines.append(
                f"| {register.address} | `{register.name}` | {bits} | `{field.name}` "
                f"| {field.access} | {field.doc} |"
            )
    return "\n".join(lines) + "\n"


def to_c_header(config: UnitConfig) -> str:
    """Return a C header with the addresses, the fields and the identity of one configuration."""
    lines = ["/* Upshift update unit: registers, 32 bits wide, word-addressed. */", "#pragma once"]
    for register in REGISTERS:
        lines.append(f"#define UPSHIFT_{register.name.upper()} {register.address}u")
        for field in register.fields:
            if field.name != "value":
                prefix = f"UPSHIFT_{register.name.upper()}_{field.name.upper()}"
                lines.append(f"#define {prefix}_SHIFT {field.offset}u")
                lines.append(f"#define {prefix}_MASK {(1 << field.width) - 1:#x}u")
    for name, value in identity(config).items():
        lines.append(f"#define UPSHIFT_IDENTITY_{name.upper()} {value:#010x}u")
    return "\n".join(lines) + "\n"
