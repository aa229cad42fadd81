"""The register maps of the update unit and of its AXI shell: gateware, drivers and documentation.

Registers are 32 bits wide and word-addressed. Fields are read-only (``r``), read and written
(``rw``), read and cleared by writing one (``w1c``), or start something when a one is written and
read zero (``w1s``).
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

from upshift.config import UnitConfig
from upshift.report import Refusal

MAGIC = int.from_bytes(b"UPSH", "big")
PROTOCOL_VERSION = 2
GATEWARE_VERSION = 2


@dataclass(frozen=True)
class RegisterField:
    """Bits `offset` to ``offset + width - 1`` of a register."""

    name: str
    offset: int
    width: int
    access: Literal["r", "rw", "w1c", "w1s"]
    doc: str


@dataclass(frozen=True)
class Register:
    """One 32-bit register."""

    name: str
    address: int
    doc: str
    fields: tuple[RegisterField, ...]


def _whole(
    name: str, address: int, doc: str, access: Literal["r", "rw"] = "r", width: int = 32
) -> Register:
    return Register(name, address, doc, (RegisterField("value", 0, width, access, doc),))


def _bits(flags: type[enum.IntFlag]) -> str:
    return ", ".join(f"bit {f.bit_length() - 1} {(f.name or '').lower()}" for f in flags)


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
                _bits(Refusal),
            ),
        ),
    ),
    _whole("clocks", 6, "clocks with a burst in progress, or one waiting for a report slot"),
    _whole("beats", 7, "gradient beats taken"),
    _whole(
        "stalls",
        8,
        "of these clocks, those that waited for a gradient, its weights or room",
    ),
    _whole("waits", 9, "of these clocks, those that waited for a weight in flight"),
)

BY_NAME = {register.name: register for register in REGISTERS}


# -- the AXI shell ------------------------------------------------------------------------------


class ShellOperation(enum.IntEnum):
    """What a command to the shell asks for."""

    UPDATE = 0
    """Update weights with the packet that follows on the gradient stream."""
    RAISE = 1
    """Raise the floor to `resolution`."""
    WRITE = 2
    """Write weights from the packet that follows on the weight stream; not to a streamed unit."""
    READ = 3
    """Send weights as one packet; not from a streamed unit."""


class Fault(enum.IntFlag):
    """What the shell found wrong: one bit per kind, several may be set."""

    GRADIENTS_EARLY = 1
    """A gradient packet ended before its burst did: the rest were taken for zeros."""
    GRADIENTS_LATE = 2
    """A gradient packet did not end with its burst: the rest is thrown away."""
    WEIGHTS_EARLY = 4
    """A packet of weights ended too early: the rest of the weights stay as they are."""
    WEIGHTS_LATE = 8
    """A packet of weights did not end in time: the rest is thrown away."""
    PADDING = 16
    """A word in a lane of a burst does not fit its format; its upper bits were cut off."""
    OVERRUN = 32
    """A command was started while there was no room for it; it is lost."""
    OPERAND = 64
    """A command was started that the unit has no bits or no operation for; it is lost."""
    REFUSED = 128
    """A command was refused; the register `error` and the reports say why."""


SHELL: tuple[Register, ...] = (
    Register(
        "reset",
        16,
        "reset of unit and streams; answers at once, always",
        (
            RegisterField("start", 0, 1, "w1s", "reset the unit, the queues and the registers"),
            RegisterField("busy", 1, 1, "r", "a reset is in progress, or the draining after it"),
            RegisterField(
                "drain",
                2,
                1,
                "w1s",
                "with `start`: throw away the rest of packets that have begun, up to their TLAST",
            ),
        ),
    ),
    Register(
        "control",
        17,
        "actions",
        (
            RegisterField("start", 0, 1, "w1s", "queue the command in the command registers"),
            RegisterField("next_report", 1, 1, "w1s", "go on to the next report"),
        ),
    ),
    Register(
        "state",
        18,
        "what is under way",
        (
            RegisterField("busy", 0, 1, "r", "a command is queued or in progress"),
            RegisterField("discarding", 1, 1, "r", "the rest of a packet is being thrown away"),
            RegisterField("room", 8, 8, "r", "commands that can be started now"),
            RegisterField("reports", 16, 8, "r", "reports that can be read"),
        ),
    ),
    Register(
        "fault",
        19,
        "what went wrong since it was last cleared",
        (RegisterField("cause", 0, len(Fault), "w1c", _bits(Fault)),),
    ),
    Register(
        "interrupt_enable",
        20,
        "which bits of `interrupt` raise the interrupt line",
        (
            RegisterField("done", 0, 1, "rw", "as in `interrupt`"),
            RegisterField("report", 1, 1, "rw", "as in `interrupt`"),
            RegisterField("fault", 2, 1, "rw", "as in `interrupt`"),
        ),
    ),
    Register(
        "interrupt",
        21,
        "reasons for an interrupt",
        (
            RegisterField("done", 0, 1, "w1c", "the last command has ended"),
            RegisterField("report", 1, 1, "r", "a report can be read"),
            RegisterField("fault", 2, 1, "r", "`fault` is not zero"),
        ),
    ),
    _whole(
        "operation",
        24,
        "command: " + ", ".join(f"{o.value} {o.name.lower()}" for o in ShellOperation),
        "rw",
        2,
    ),
    _whole("base", 25, "command: first weight", "rw"),
    _whole("count", 26, "command: number of weights", "rw"),
    _whole("rate", 27, "command: k of the learning rate 2**-k", "rw", 8),
    _whole("resolution", 28, "command: q, or the new floor", "rw", 8),
    _whole("report_elements", 32, "report: elements of the burst"),
    _whole("report_nonzero", 33, "report: finite elements whose quantized step is not zero"),
    _whole("report_saturated", 34, "report: weights that were clamped"),
    _whole("report_nonfinite", 35, "report: gradients that were infinite or NaN"),
    _whole("report_needed", 36, "report: q_min, signed"),
    Register(
        "report_flags",
        37,
        "report: flags",
        (
            RegisterField("refusal", 0, len(Refusal), "r", _bits(Refusal)),
            RegisterField("needed_valid", 8, 1, "r", "some finite gradient is not zero"),
            RegisterField("gradients_early", 16, 1, "r", "as in `fault`, of this command"),
            RegisterField("gradients_late", 17, 1, "r", "as in `fault`, of this command"),
            RegisterField("weights_early", 18, 1, "r", "as in `fault`, of this command"),
            RegisterField("weights_late", 19, 1, "r", "as in `fault`, of this command"),
            RegisterField("valid", 31, 1, "r", "there is a report"),
        ),
    ),
    _whole("report_gradients", 38, "report: beats of the gradient packet that were used"),
    _whole("report_weights", 39, "report: beats of weights that were taken, or sent by a read"),
)

SHELL_BY_NAME = {register.name: register for register in SHELL}
AXI_BYTES = 256
"""Size of the address block: the unit's registers and those of the shell, four bytes each."""


def identity(config: UnitConfig) -> dict[str, int]:
    """Return the values that the identity registers of a unit must have."""
    digest = bytes.fromhex(config.digest)
    return {
        "magic": MAGIC,
        "version": PROTOCOL_VERSION << 16 | GATEWARE_VERSION,
        "digest_high": int.from_bytes(digest[:4], "big"),
        "digest_low": int.from_bytes(digest[4:8], "big"),
    }


def to_json(table: Iterable[Register] = REGISTERS) -> str:
    """Return a register map as JSON; addresses are in words."""
    return json.dumps([asdict(register) for register in table], indent=2) + "\n"


def to_markdown(table: Iterable[Register] = REGISTERS, *, step: int = 1) -> str:
    """Return a register map as a Markdown table.

    Parameters
    ----------
    table : iterable of Register
    step : int
        Addresses from one register to the next: 4 for byte addresses, written in hexadecimal.
    """
    lines = [
        "| address | register | bits | field | access | meaning |",
        "|---|---|---|---|---|---|",
    ]
    for register in table:
        address = f"{register.address}" if step == 1 else f"{step * register.address:#04x}"
        for field in register.fields:
            top = field.offset + field.width - 1
            bits = f"{top}:{field.offset}" if field.width > 1 else f"{field.offset}"
            lines.append(
                f"| {address} | `{register.name}` | {bits} | `{field.name}` "
                f"| {field.access} | {field.doc} |"
            )
    return "\n".join(lines) + "\n"


def to_c_header(config: UnitConfig) -> str:
    """Return a C header with the addresses, the fields and the identity of one configuration."""
    lines = ["/* Upshift update unit: registers, 32 bits wide, word-addressed. */"]
    return _c_header(lines, config, REGISTERS, "UPSHIFT", 1)


def axi_c_header(config: UnitConfig) -> str:
    """Return a C header for the unit in its AXI shell, with byte addresses."""
    prefix = "UPSHIFT_AXI"
    lines = ["/* Upshift update unit behind AXI: registers, 32 bits wide, byte-addressed. */"]
    text = _c_header(lines, config, (*REGISTERS, *SHELL), prefix, 4)
    constants = {f"{prefix}_BYTES": AXI_BYTES}
    constants |= {f"{prefix}_OPERATION_{o.name}": o.value for o in ShellOperation}
    constants |= {f"{prefix}_FAULT_{f.name}": f.value for f in Fault}
    return text + "".join(f"#define {name} {value:#x}u\n" for name, value in constants.items())


def _c_header(
    lines: list[str], config: UnitConfig, table: Iterable[Register], prefix: str, step: int
) -> str:
    lines.append("#pragma once")
    for register in table:
        name = f"{prefix}_{register.name.upper()}"
        lines.append(f"#define {name} {step * register.address}u")
        for field in register.fields:
            if field.name != "value":
                lines.append(f"#define {name}_{field.name.upper()}_SHIFT {field.offset}u")
                mask = (1 << field.width) - 1
                lines.append(f"#define {name}_{field.name.upper()}_MASK {mask:#x}u")
    for name, value in identity(config).items():
        lines.append(f"#define {prefix}_IDENTITY_{name.upper()} {value:#010x}u")
    return "\n".join(lines) + "\n"
