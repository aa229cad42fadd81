"""The driver's half of the exactly-once link, without a line, a clock or a thread.

A `Session` is given commands and queries, the bytes that come from a board and the time. It returns
the bytes to send, and completes commands and queries. That is all: what it does follows from what
it is given, so that every fault of a line can be tried and repeated.

A command is *in flight* from when it is first sent until it and all before it are answered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from upshift.device import DeviceError
from upshift.link.flight import NUMBERS, Flight
from upshift.link.frames import (
    ANSWERS,
    ARGUMENTS,
    CHECK_BYTES,
    HEADER_BYTES,
    NO_SESSION,
    WINDOW,
    Answer,
    Frame,
    Request,
    max_payload,
    pack,
    unpack,
)
from upshift.link.framing import FrameReader, to_line
from upshift.link.mirror import Mirror
from upshift.link.requests import Command, Query
from upshift.report import Refusal

_SILENCES = 3  # deadlines that must have passed before the driver gives up
_BUFFERED = 2  # frames that a board buffers
_FRAME = HEADER_BYTES + CHECK_BYTES

_ANSWER = {
    Request.READ: Answer.WEIGHTS,
    Request.CHECKSUM: Answer.CHECKSUM,
    Request.TEST: Answer.TEST,
    Request.STATUS: Answer.STATUS,
}


class Session:
    """One driver's dealings with one board, from BEGIN on.

    Parameters
    ----------
    mirror : Mirror
        Follows the commands that are answered.
    identity : dict
        Fields of the board's IDENTITY answer.
    found : int
        Session in which the board was found.
    draw : callable
        Returns a random session number other than 0.
    now : float
        The time in seconds, as in all that follows.
    timeout : float
        Seconds after which a board that answers nothing new is given up.

    Attributes
    ----------
    answered : int
        Commands that are known to be executed.
    losses : int
        How often the board has lost its memory.
    sent, resent : int
        Frames that were sent, and of these the ones that were sent again.
    queued_bytes : int
        Payload of the commands that wait to be sent.
    reader : FrameReader
        Finds the board's answers.
    """

    def __init__(
        self,
        mirror: Mirror,
        identity: dict[str, int],
        *,
        found: int,
        draw: Callable[[], int],
        now: float,
        timeout: float,
    ):
        self._mirror = mirror
        self._identity = identity
        self._identified = True
        self._frame_bytes = identity["frame_bytes"]
        self._window = min(identity["window"], WINDOW)
        self.reader = FrameReader(self._frame_bytes)
        self._draw = draw
        # Long enough for all that a port may hold back at that line rate.
        self._patience = 0.2 + 10 * (8 * self._frame_bytes + 8192) / identity["baud"]
        self._timeout = timeout + 2 * self._patience

        self.answered = self.losses = self.sent = self.resent = self.queued_bytes = 0
        self._waiting: deque[Command | Query] = deque()
        self._flight = Flight()
        self._number = NO_SESSION  # of this session
        self._ours = {NO_SESSION}  # sessions in which a board that lost its power may be
        self._beginning: int | None = None  # the session that is to end, until ours has begun
        self._asked: dict[int, Query] = {}  # by tag, in the order of sending
        self._tag = draw() % NUMBERS  # not one that the program before has used
        self._unsure = False  # what the board is doing has to be asked
        self._probe: int | None = None  # tag of the STATUS or BEGIN that must be answered first
        self._heard = self._progress = now
        self._silences = 0  # deadlines that have passed since there was progress
        self._begin(found)

    # -- for drivers ------------------------------------------------------------------------------

    def submit(self, item: Command | Query, now: float) -> None:
        """Queue a command or a query; all are sent, and done, in this order."""
        if not self.busy:
            self._heard = self._progress = now
        if isinstance(item, Command):
            self.queued_bytes += len(item.payload)
        self._waiting.append(item)

    @property
    def busy(self) -> bool:
        """Whether there is something to send or to wait for."""
        return bool(
            self._waiting
            or len(self._flight)
            or self._asked
            or self._unsure
            or self._probe is not None
        )

    @property
    def deadline(self) -> float:
        """When to call `tick` at the latest if nothing comes."""
        return self._heard + self._patience if self.busy else float("inf")

    def reconnected(self, now: float) -> None:
        """Tell that the line was gone and is open again."""
        self.reader.clear()
        self._unsure = True
        if self._beginning is not None:
            self._identified = False
        self._made_progress(now)

    def tick(self, now: float) -> None:
        """Take note of the time: if the deadline has passed, the board has to be asked.

        Raises
        ------
        DeviceError
            If the board has not answered for too long.
        """
        if now < self.deadline:
            return
        # A program that was suspended for long finds its deadline passed, but once only.
        if self._silences >= _SILENCES and now - self._progress >= self._timeout:
            raise DeviceError(
                f"the board has not answered {self._what()} for {now - self._progress:.1f} s; "
                f"{self.state()}"
            )
        self._silences += 1
        self._unsure = True
        self._heard = now

    def transmit(self, now: float) -> bytes:
        """Return the next frame to send, or nothing if the board has to answer first."""
        if self._unsure:
            frame: Frame | None = self._probing()
        elif self._probe is not None:
            frame = None
        else:
            frame = self._again() or self._next()
        if frame is None:
            return b""
        self._heard = now
        self.sent += 1
        return to_line(frame)

    def receive(self, data: bytes, now: float) -> None:
        """Take bytes that came from the board.

        Raises
        ------
        DeviceError
            If another program has taken the board, it is another board, or it cannot serve a
            query.
        """
        for frame in self.reader.feed(data):
            try:
                kind = Answer(frame.kind)
                values = unpack(ANSWERS[kind], frame.payload)
            except ValueError:
                continue  # an echo, or not of this protocol
            self._heard = now
            if kind == Answer.STATUS and frame.sequence == self._probe:
                self._probe = None
                self._status(frame.session, values, now)
            elif kind == Answer.IDENTITY and frame.sequence == self._probe:
                self._probe = None
                self._check_identity(frame.session, values)
            elif frame.session != self._number or self._beginning is not None:
                # An old frame, or the board has lost its session: ask, unless that is under way.
                self._unsure = self._unsure or self._probe is None
            elif kind == Answer.REPORT:
                self._reported(frame.sequence, values, now)
            elif kind == Answer.GAP:
                self._flight.gap(values["next"])
            elif frame.sequence in self._asked:
                self._answer(frame, kind, now)

    def state(self) -> str:
        """Return what is known of the commands that were submitted."""
        text = f"{self.answered} commands are applied"
        sent = [command for command in self._flight if not command.restores]
        if sent:
            text += f", {len(sent)} more may be, from {sent[0]} on"
        restored = [*self._flight, *self._waiting]
        if any(isinstance(item, Command) and item.restores for item in restored):
            text += "; the board has lost its memory, and not all of it is written again"
        return text

    # -- sending ----------------------------------------------------------------------------------

    def _new_tag(self) -> int:
        self._tag = (self._tag + 1) % NUMBERS
        return self._tag

    def _probing(self) -> Frame:
        """Return what must be answered before anything else: IDENTIFY, BEGIN or STATUS."""
        self._unsure = False
        self._probe = tag = self._new_tag()
        if not self._identified:
            return Frame(Request.IDENTIFY, tag, self._number, b"")
        if self._beginning is None:
            return Frame(Request.STATUS, tag, self._number, b"")
        payload = pack(ARGUMENTS[Request.BEGIN], {"session": self._number})
        return Frame(Request.BEGIN, tag, self._beginning, payload)

    def _again(self) -> Frame | None:
        """Return the first frame that has to be sent again."""
        if (part := self._flight.send()) is not None:
            self.resent += 1
            return self._command(*part)
        for tag, query in self._asked.items():
            if not query.sent:
                self.resent += 1
                query.sent = True
                self._asked[tag] = self._asked.pop(tag)
                return Frame(query.request, tag, self._number, query.payload)
        return None

    def _next(self) -> Frame | None:
        """Return the next frame of those that wait."""
        if not self._waiting:
            return None
        item = self._waiting[0]
        if isinstance(item, Command):
            if self._asked or len(self._flight) >= self._window:
                return None
            self._waiting.popleft()
            self.queued_bytes -= len(item.payload)
            self._flight.append(item)
            part = self._flight.send()
            return None if part is None else self._command(*part)
        if len(self._flight) or not self._has_room(item):
            return None  # queries see what all commands before them have done
        self._waiting.popleft()
        tag = self._new_tag()
        self._asked[tag] = item
        item.sent = True
        return Frame(item.request, tag, self._number, item.payload)

    def _command(self, request: Request, number: int, payload: bytes) -> Frame:
        return Frame(request, number, self._number, payload)

    def _has_room(self, query: Query) -> bool:
        """Return whether the board can buffer one more query while it answers the others.

        Where answers are no longer than requests, it answers as fast as it is asked.
        """
        asked = [*self._asked.values(), query]
        buffered = [_FRAME + len(each.payload) for each in asked if each.size > len(each.payload)]
        return len(asked) <= self._window and (
            len(buffered) <= 1 or sum(buffered) <= _BUFFERED * self._frame_bytes
        )

    # -- receiving --------------------------------------------------------------------------------

    def _made_progress(self, now: float) -> None:
        self._progress = self._heard = now
        self._silences = 0

    def _status(self, session: int, values: dict[str, int], now: float) -> None:
        """Take the answer to the STATUS or BEGIN that was sent last."""
        if self._beginning is not None:
            if session == self._number:
                self._beginning = None
                self._made_progress(now)
            else:
                self._check_owner(session)
                self._beginning = session
                self._unsure = True
            return
        self._check_owner(session)
        if session == self._number and self._flight.status(values["next"]):
            for query in self._asked.values():
                query.sent = False
        else:
            self.losses += 1
            self._identified = False  # perhaps it is not even the same board
            self._begin(session)

    def _check_identity(self, session: int, identity: dict[str, int]) -> None:
        """Insist that a board without our session is the one that it was."""
        self._check_owner(session)
        differ = [name for name, value in self._identity.items() if identity[name] != value]
        if differ:
            found = ", ".join(
                f"{name} {identity[name]}, not {self._identity[name]}" for name in differ
            )
            raise DeviceError(f"another board is on the line: {found}; {self.state()}")
        self._identified = True
        self._beginning = session
        self._unsure = True

    def _check_owner(self, session: int) -> None:
        # An old BEGIN that comes after a power loss begins a session of the past.
        if session != self._beginning and session not in self._ours:
            raise DeviceError(
                f"another program has taken the board: it is in session {session:#010x}, not in "
                f"{self._number:#010x}; {self.state()}"
            )

    def _begin(self, found: int) -> None:
        """Begin a session on a board that is in session `found`.

        It is brought to the mirror's state and given all commands that are not answered.
        """
        again = [*self._flight, *self._asked.values(), *self._waiting]
        self._flight.clear()
        self._asked.clear()
        self._waiting.clear()
        for parts in self._mirror.restore(max_payload(self._frame_bytes)):
            command = Command(*parts)
            command.restores = True
            self._waiting.append(command)
        for item in again:
            item.sent = False
            if isinstance(item, Command):
                item.recalled, item.report = False, None
                if item.restores:
                    continue
            self._waiting.append(item)
        self.queued_bytes = sum(
            len(item.payload) for item in self._waiting if isinstance(item, Command)
        )
        self._number = self._draw()
        self._ours.add(self._number)
        self._beginning = found
        self._unsure = True

    def _reported(self, number: int, report: dict[str, int], now: float) -> None:
        for command in self._flight.report(number, report):
            self._complete(command, command.report or {})
            self._made_progress(now)

    def _complete(self, command: Command, report: dict[str, int]) -> None:
        if not report["refusal"]:
            self._mirror.apply(command.request, command.payload, command.raw)
        elif command.restores or command.request == Request.WRITE:
            causes = str(Refusal(report["refusal"]).name).lower()
            raise DeviceError(f"the board refused {command}: {causes}; {self.state()}")
        self.answered += not command.restores
        command.payload, command.raw = b"", command.raw[:0]
        command.done = True

    def _answer(self, frame: Frame, kind: Answer, now: float) -> None:
        query = self._asked[frame.sequence]
        if kind == Answer.STATUS and query.request != Request.STATUS:
            raise DeviceError(
                f"the board cannot serve {query.request.name} {query.payload.hex(' ')}; "
                f"{self.state()}"
            )
        if kind != _ANSWER[query.request] or len(frame.payload) != query.size:
            return
        for tag, earlier in self._asked.items():
            if tag == frame.sequence:
                break
            earlier.sent = False  # answers come in order: that one is lost
        del self._asked[frame.sequence]
        query.answer = frame.payload
        self._made_progress(now)

    def _what(self) -> str:
        """Return what is waited for."""
        if self._beginning is not None:
            return "the begin of a session"
        if len(self._flight):
            return f"the command after the {self.answered} that it has answered"
        if self._asked:
            return f"a {next(iter(self._asked.values())).request.name} request"
        return "a STATUS request"
