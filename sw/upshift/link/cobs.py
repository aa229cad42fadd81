"""Consistent overhead byte stuffing: frames without a zero byte, so that zeros can end them.

Stuart Cheshire, Mary Baker: Consistent Overhead Byte Stuffing, IEEE/ACM Transactions on
Networking 7(2), 1999, https://doi.org/10.1109/90.769765.
"""

from __future__ import annotations

DELIMITER = b"\0"
"""What ends a stuffed frame on the line."""

LONGEST_RUN = 254
"""Bytes that one code can stand for."""

_CODES = [bytes([code]) for code in range(LONGEST_RUN + 2)]


def stuffed_bytes(size: int) -> int:
    """Return the most bytes that `size` bytes can become, the delimiter not included."""
    return size + max(1, -(-size // LONGEST_RUN))


def encode(data: bytes) -> bytes:
    """Return `data` stuffed, without the delimiter."""
    parts: list[bytes] = []
    for run in data.split(DELIMITER):
        short = run
        if len(run) >= LONGEST_RUN:
            whole = len(run) - len(run) % LONGEST_RUN
            for start in range(0, whole, LONGEST_RUN):
                parts += _CODES[-1], run[start : start + LONGEST_RUN]
            short = run[whole:]
        parts += _CODES[len(short) + 1], short
    if len(parts) > 2 and not short and run:
        del parts[-2:]  # the data end with a run of the full length, which has no zero to drop
    return b"".join(parts)


def decode(data: bytes) -> bytes:
    """Return what was stuffed into `data`, which has no delimiter.

    Raises
    ------
    ValueError
        If `data` is empty, contains a zero, or ends within a run.
    """
    if not data or 0 in data:
        raise ValueError("stuffed bytes are empty or contain a zero")
    parts: list[bytes] = []
    size, place = len(data), 0
    while place < size:
        code = data[place]
        parts.append(data[place + 1 : place + code])
        place += code
        if code <= LONGEST_RUN and place < size:
            parts.append(DELIMITER)
    if place > size:
        raise ValueError("stuffed bytes end within a run")
    return b"".join(parts)
