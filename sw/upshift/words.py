"""Raw words as bytes, the way links, checksums and files spell them.

A word of a format takes ``ceil(width / 8)`` bytes, the lowest first. Fixed-point words are two's
complement, sign-extended to the last byte; the bit patterns of float formats are not signed.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from upshift.formats import Raw


def word_bytes(width: int) -> int:
    """Return how many bytes a word of `width` bits takes."""
    return -(-width // 8)


def to_bytes(raw: NDArray[np.integer], width: int) -> bytes:
    """Return words of `width` bits as bytes.

    Parameters
    ----------
    raw : ndarray of int, one-dimensional
        Words of the format; they are not checked.
    width : int
        Bits of the format, 1 to 64.
    """
    size = word_bytes(width)
    if size in (1, 2, 4, 8):
        return raw.astype(f"<i{size}").tobytes()
    wide = np.ascontiguousarray(raw, "<i8")
    return wide.view(np.uint8).reshape(-1, 8)[:, :size].tobytes()


def from_bytes(data: bytes | bytearray | memoryview, width: int, *, signed: bool = True) -> Raw:
    """Return the words that `to_bytes` made bytes of.

    Bits beyond the format are not checked: ``Format.check`` does that.

    Parameters
    ----------
    data : bytes-like
    width : int
        Bits of the format, 1 to 64.
    signed : bool
        False for the bit patterns of a float format.

    Raises
    ------
    ValueError
        If the data end within a word.
    """
    size = word_bytes(width)
    if len(data) % size:
        raise ValueError(f"{len(data)} bytes are not a whole number of words of {size} bytes")
    parts = np.frombuffer(data, np.uint8).reshape(-1, size)
    wide = np.zeros((len(parts), 8), np.uint8)
    wide[:, :size] = parts
    if signed:
        wide[:, size:] = (parts[:, -1:] >> 7) * 0xFF
    return wide.view("<i8").ravel().astype(np.int64, copy=False)


def checksum(raw: NDArray[np.integer], width: int) -> int:
    """Return the CRC-32 (that of zlib and Ethernet) of words of `width` bits as bytes."""
    return zlib.crc32(to_bytes(raw, width))
