"""The commands that a board has been sent and has not all answered, by number.

A board's reports, gaps and status tell how many of them it has executed. Those may not be sent
again; reports of theirs that were lost are recalled. The others may.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from upshift.link.frames import ARGUMENTS, HEADER, Request, pack
from upshift.link.requests import Command

NUMBERS = 1 << next(field.width for field in HEADER if field.name == "sequence")
"""Sequence numbers, which are counted modulo this."""


class Flight:
    """Commands in flight, in order."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all commands and count from zero."""
        self._commands: deque[Command] = deque()
        self._first = 0  # number of the first command
        self._executed = 0  # commands that are known to be executed
        self._last_gap: int | None = None

    def __len__(self) -> int:
        return len(self._commands)

    def __iter__(self) -> Iterator[Command]:
        return iter(self._commands)

    def append(self, command: Command) -> None:
        """Take a command that is to be sent next."""
        self._commands.append(command)

    def send(self) -> tuple[Request, int, bytes] | None:
        """Return request, number and payload of what has to be sent first, if anything has to."""
        for index, command in enumerate(self._commands):
            if command.sent or command.report is not None:
                continue
            command.sent = True
            number = (self._first + index) % NUMBERS
            if index >= self._executed:
                return command.request, number, command.payload
            command.recalled = True
            # Tagged with the number of the command, the answer is like the report that was lost.
            return Request.RECALL, number, pack(ARGUMENTS[Request.RECALL], {"command": number})
        return None

    def status(self, following: int) -> bool:
        """Learn which command the board expects; return whether that can be.

        All that is not answered is then sent again: commands, or requests for their reports.
        """
        ahead = (following - self._first) % NUMBERS
        if ahead > len(self._commands):
            return False
        self._last_gap = None
        self._resend(ahead)
        return True

    def gap(self, following: int) -> None:
        """Learn that a command came which was not the one that the board expects."""
        ahead = (following - self._first) % NUMBERS
        # A board sends a gap once; a second one is a copy. Those of the past are old.
        if following != self._last_gap and self._executed <= ahead <= len(self._commands):
            self._last_gap = following
            self._resend(ahead)

    def report(self, number: int, report: dict[str, int]) -> Iterator[Command]:
        """Take a report; yield and drop the commands that are answered with all before them."""
        index = (number - self._first) % NUMBERS
        if index >= len(self._commands):
            return  # a copy
        self._commands[index].report = report
        self._executed = max(self._executed, index + 1)
        for command in list(self._commands)[:index]:
            if command.report is None and not command.recalled:
                command.sent = False  # executed, as the later one was, and its report is lost
        while self._commands and self._commands[0].report is not None:
            self._first = (self._first + 1) % NUMBERS
            self._executed -= 1
            yield self._commands.popleft()

    def _resend(self, executed: int) -> None:
        self._executed = max(self._executed, executed)
        for command in self._commands:
            command.sent = command.recalled = False
