"""Frames on a line: stuffed and delimited on the way out, found again among noise on the way in."""

from __future__ import annotations

from collections.abc import Iterator

from upshift.link import cobs
from upshift.link.frames import Frame

_COUNTER = 1 << 32


def to_line(frame: Frame) -> bytes:
    """Return the bytes that bring a frame over a line."""
    return cobs.encode(frame.to_bytes()) + cobs.DELIMITER


class FrameReader:
    """Finds frames in the bytes of a line.

    Parameters
    ----------
    longest : int
        Bytes of the longest frame before it is stuffed; longer ones are dropped.

    Attributes
    ----------
    frames, rejected : int
        Frames found and dropped, modulo 2**32.
    """

    def __init__(self, longest: int):
        self.longest = longest
        self.frames = self.rejected = 0
        self._open = bytearray()  # what came since the last delimiter

    def clear(self) -> None:
        """Forget what came of a frame that has not ended."""
        self._open.clear()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take bytes from the line and yield the frames that they end.

        The counters are those of the moment when a frame is yielded.
        """
        *ended, rest = data.split(cobs.DELIMITER)
        for part in ended:
            stuffed = bytes(self._open) + part
            self._open.clear()
            if not stuffed:
                continue
            try:
                frame = self._frame(stuffed)
            except ValueError:
                self.rejected = (self.rejected + 1) % _COUNTER
            else:
                self.frames = (self.frames + 1) % _COUNTER
                yield frame
        # What is longer than any frame stays too long, however much of it is kept.
        room = cobs.stuffed_bytes(self.longest) + 1 - len(self._open)
        self._open += rest[: max(0, room)]

    def _frame(self, stuffed: bytes) -> Frame:
        data = cobs.decode(stuffed)
        if len(data) > self.longest:
            raise ValueError(f"{len(data)} bytes are longer than a frame")
        return Frame.from_bytes(data)
