"""The data of WRITE and UPDATE: raw words, all of them or only those whose steps are not zero.

Most steps of a training run are zero, because a gradient is short against its resolution. They
need not be sent: `split` cuts a burst into the payloads that bring it over in the fewest bytes;
`dense` and `masked` read the data of such payloads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from upshift.config import UnitConfig
from upshift.formats import Fixed, Format, Raw
from upshift.link.frames import ARGUMENTS, Encoding, Request, byte_width, pack
from upshift.reference import Command
from upshift.words import from_bytes, to_bytes, word_bytes

_MOST = (1 << next(f.width for f in ARGUMENTS[Request.UPDATE] if f.name == "count")) - 1


class Piece(NamedTuple):
    """One UPDATE of a burst: the elements ``start`` to ``stop - 1`` and its payload."""

    start: int
    stop: int
    payload: bytes


class _Encoded(NamedTuple):
    """A whole burst, and where it may be cut.

    That is behind each group of elements whose addresses have the same quotient by `group`;
    `ends` has the place in the data behind each.
    """

    encoding: Encoding
    data: bytes
    group: int
    ends: NDArray[np.int64]


def split(
    config: UnitConfig, command: Command, raw: NDArray[np.integer[Any]], longest: int
) -> Iterator[Piece]:
    """Cut a burst into the payloads of UPDATE requests.

    Gradients whose quantized steps are zero are left out where that makes the burst shorter,
    unless all steps are: then neither weights nor counts nor the smallest `needed` of the pieces
    can tell. Pieces end with whole beats if a beat fits a payload.

    Parameters
    ----------
    config : UnitConfig
    command : Command
        An update of ``raw.size`` weights.
    raw : ndarray of int, one-dimensional
        Raw words, in any integer type. They are copied before the first piece is returned.
    longest : int
        Bytes of the longest payload.

    Returns
    -------
    iterator of Piece
        At least one, in the order of the elements.
    """
    room = longest - byte_width(ARGUMENTS[Request.UPDATE])
    return _cut(command, _encode(config, command, raw, room), room)


def dense(fmt: Format, count: int, data: bytes) -> Raw:
    """Return `count` words of a format.

    Bits beyond the format are ignored, bytes that are missing are zero.
    """
    size = count * word_bytes(fmt.width)
    signed = isinstance(fmt, Fixed)
    raw = from_bytes(data[:size].ljust(size, b"\0"), fmt.width, signed=signed)
    beyond = 64 - fmt.width if signed else 0
    return raw << beyond >> beyond


def masked(config: UnitConfig, base: int, count: int, data: bytes) -> Raw:
    """Return the gradients of a masked burst; bytes that are missing are zero."""
    lanes, size, mask_bytes = config.lanes, word_bytes(config.gradient.width), _mask_bytes(config)
    found = bytearray(count * size)
    place = 0
    for row in range(base // lanes, -(-(base + count) // lanes)):
        mask = int.from_bytes(data[place : place + mask_bytes], "little")
        place += mask_bytes
        for lane in range(lanes):
            if mask >> lane & 1:
                word, place = data[place : place + size], place + size
                element = row * lanes + lane - base
                if 0 <= element < count:
                    found[element * size : (element + 1) * size] = word.ljust(size, b"\0")
    return dense(config.gradient, count, bytes(found))


def _mask_bytes(config: UnitConfig) -> int:
    return word_bytes(config.lanes)


def _encode(
    config: UnitConfig, command: Command, raw: NDArray[np.integer[Any]], room: int
) -> _Encoded:
    """Return a burst in the shorter encoding, for pieces of up to `room` bytes of data."""
    lanes, size = config.lanes, word_bytes(config.gradient.width)
    words = to_bytes(raw, config.gradient.width)
    if _mask_bytes(config) + lanes * size <= room:
        encoded = _mask(config, command, raw, words)
        if len(encoded.data) < len(words):
            return encoded
    group = lanes if lanes * size <= room else 1
    first = group - command.base % group
    ends = size * np.minimum(np.arange(first, raw.size + group, group), raw.size)
    return _Encoded(Encoding.DENSE, words, group, ends)


def _mask(
    config: UnitConfig, command: Command, raw: NDArray[np.integer[Any]], words: bytes
) -> _Encoded:
    lanes, size = config.lanes, word_bytes(config.gradient.width)
    offset = command.base % lanes
    beats = config.beats(command.base, raw.size) if raw.size else 0
    sent = np.zeros(beats * lanes, np.bool_)
    sent[offset : offset + raw.size] = _to_send(config, command, raw)
    beat = np.zeros(beats * lanes * size, np.uint8)
    beat[offset * size : (offset + raw.size) * size] = np.frombuffer(words, np.uint8)
    mask = np.packbits(sent.reshape(beats, lanes), axis=1, bitorder="little")
    table = np.hstack([mask, beat.reshape(beats, lanes * size)])
    chosen = np.ones(table.shape, np.bool_)
    chosen[:, _mask_bytes(config) :] = np.repeat(sent, size).reshape(beats, lanes * size)
    ends = np.cumsum(np.count_nonzero(chosen, axis=1))
    return _Encoded(Encoding.MASKED, table[chosen].tobytes(), lanes, ends)


def _to_send(
    config: UnitConfig, command: Command, raw: NDArray[np.integer[Any]]
) -> NDArray[np.bool_]:
    """Return which gradients a board has to be told."""
    if isinstance(config.gradient, Fixed):
        # A step floor(2**(q-k) g + 1/2) is zero for -1/2 <= 2**(q-k) g < 1/2.
        power = command.rate - command.resolution + config.gradient.fraction - 1
        half = 1 << min(power, config.gradient.width) if power >= 0 else 0
        steps = (raw < -half) | (raw >= max(half, 1))
        return np.asarray(steps if steps.any() else raw != 0)
    values = config.gradient.decode(raw)
    tie = 2.0 ** (command.rate - command.resolution - 1)
    finite = np.isfinite(values)
    steps = finite & ((values < -tie) | (values >= tie))
    return np.asarray(steps | ~finite if steps.any() else values != 0)


def _cut(command: Command, encoded: _Encoded, room: int) -> Iterator[Piece]:
    group, ends = encoded.group, encoded.ends
    offset = command.base % group
    start = place = 0
    while True:
        groups = int(np.searchsorted(ends, place + room, "right"))
        groups = min(groups, (offset + start + _MOST) // group)
        stop = max(min(groups * group - offset, command.count), 0)
        next_place = int(ends[groups - 1]) if groups else 0
        arguments = {
            "base": command.base + start,
            "count": stop - start,
            "rate": command.rate,
            "resolution": command.resolution,
            "encoding": encoded.encoding,
        }
        fields = pack(ARGUMENTS[Request.UPDATE], arguments)
        yield Piece(start, stop, fields + encoded.data[place:next_place])
        start, place = stop, next_place
        if start >= command.count:
            return
