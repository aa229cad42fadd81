"""The payloads of the update unit's streams, bit by bit.

Each payload is a table of fields, least significant first, that follows from the configuration.
The gateware builds its layouts from these tables; drivers, benches, exported vectors and the
documentation pack and describe payloads with the same ones.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from upshift.config import UnitConfig
from upshift.report import Refusal, UpdateReport


class Operation(enum.IntEnum):
    """What a command asks for."""

    UPDATE = 0
    """Update `count` weights from `base` with the gradients that follow on the stream."""
    RAISE = 1
    """Raise the floor register to `resolution`; `base`, `count` and `rate` are ignored."""


@dataclass(frozen=True)
class Field:
    """One field of a payload: its name, width in bits, and whether it is signed."""

    name: str
    width: int
    doc: str
    signed: bool = False


Fields = tuple[Field, ...]


def _bits_for(largest: int) -> int:
    return max(1, largest.bit_length())


def row_bits(config: UnitConfig) -> int:
    """Width of a row address."""
    return _bits_for(config.rows - 1)


def resolution_bits(config: UnitConfig) -> int:
    """Width of a resolution: wide enough that the first impossible value can be refused."""
    return _bits_for(config.max_resolution + 1)


def needed_bits(config: UnitConfig) -> int:
    """Width of the signed q_min field."""
    low, high = config.needed_range
    return 1 + max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0, 1)


def command(config: UnitConfig) -> Fields:
    """Fields of a command."""
    address = _bits_for(config.depth)
    return (
        Field("operation", 1, "0 update, 1 raise the floor"),
        Field("base", address, "first weight"),
        Field("count", address, "number of weights"),
        Field("rate", _bits_for(config.max_rate), "k of the learning rate 2**-k"),
        Field("resolution", resolution_bits(config), "q, or the new floor"),
    )


def report(config: UnitConfig) -> Fields:
    """Fields of a report; one report leaves for each command, in order."""
    count = _bits_for(config.depth)
    return (
        Field("elements", count, "elements of the burst"),
        Field("nonzero", count, "finite elements whose quantized step is not zero"),
        Field("saturated", count, "weights that were clamped"),
        Field("nonfinite", count, "gradients that were infinite or NaN"),
        Field("needed_valid", 1, "some finite gradient is not zero"),
        Field("needed", needed_bits(config), "q_min, unclipped; 0 if not valid", signed=True),
        Field("refusal", len(Refusal), "causes of a refusal, 0 when accepted"),
    )


def lanes(config: UnitConfig, word: int) -> Fields:
    """Fields of one beat or row of `word`-bit words, lane 0 first."""
    return tuple(Field(f"lane{j}", word, f"lane {j}") for j in range(config.lanes))


def gradients(config: UnitConfig) -> Fields:
    """Fields of one gradient beat."""
    return lanes(config, config.gradient.width)


def weights(config: UnitConfig) -> Fields:
    """Fields of one row of weights."""
    return lanes(config, config.weight.width)


def access(config: UnitConfig) -> Fields:
    """Fields of a host access to one row of the weight memory."""
    return (
        Field("row", row_bits(config), "row address"),
        Field("write", 1, "1 write, 0 read"),
        Field("mask", config.lanes, "lanes to write"),
        Field("weights", config.lanes * config.weight.width, "the row to write, lane 0 first"),
    )


def updates(config: UnitConfig) -> Fields:
    """Fields of a row that was updated, as units with `updates` send it."""
    return (
        Field("row", row_bits(config), "row address"),
        Field("last", 1, "last row of its burst"),
        Field("mask", config.lanes, "lanes that were written"),
        Field(
            "weights",
            config.lanes * config.weight.width,
            "the weights written, lane 0 first; other lanes carry anything",
        ),
    )


def width(fields: Fields) -> int:
    """Bits of a payload."""
    return sum(field.width for field in fields)


def places(fields: Fields) -> Iterator[tuple[int, Field]]:
    """Yield each field with the number of its least significant bit."""
    offset = 0
    for field in fields:
        yield offset, field
        offset += field.width


def pack(fields: Fields, values: Mapping[str, int]) -> int:
    """Return the payload with the given field values; fields left out are zero.

    Raises
    ------
    ValueError
        If a name is unknown or a value does not fit its field.
    """
    unknown = set(values) - {field.name for field in fields}
    if unknown:
        raise ValueError(f"unknown fields {sorted(unknown)}")
    word = 0
    for offset, field in places(fields):
        value = values.get(field.name, 0)
        low = -(1 << (field.width - 1)) if field.signed else 0
        high = low + (1 << field.width) - 1
        if not low <= value <= high:
            raise ValueError(f"{field.name} {value} is not allowed: {low} to {high}")
        word |= (value & ((1 << field.width) - 1)) << offset
    return word


def unpack(fields: Fields, word: int) -> dict[str, int]:
    """Return the field values of a payload."""
    values = {}
    for offset, field in places(fields):
        value = (word >> offset) & ((1 << field.width) - 1)
        if field.signed and value >> (field.width - 1):
            value -= 1 << field.width
        values[field.name] = value
    return values


def pack_lanes(words: Sequence[int], word_width: int) -> int:
    """Return a beat or row payload; words may be signed."""
    mask = (1 << word_width) - 1
    return sum((int(word) & mask) << (j * word_width) for j, word in enumerate(words))


def unpack_lanes(config: UnitConfig, payload: int) -> list[int]:
    """Return the signed weights of a row payload."""
    bits = config.weight.width
    words = [(payload >> (j * bits)) & ((1 << bits) - 1) for j in range(config.lanes)]
    return [word - (1 << bits) if word >> (bits - 1) else word for word in words]


def to_report(values: Mapping[str, int]) -> UpdateReport:
    """Return the report that unpacked report fields describe."""
    return UpdateReport(
        elements=values["elements"],
        nonzero=values["nonzero"],
        saturated=values["saturated"],
        nonfinite=values["nonfinite"],
        clipped=0,
        resolution_needed=values["needed"] if values["needed_valid"] else None,
    )
