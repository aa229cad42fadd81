"""Sources, sinks and monitors for the unit's streams.

An Amaranth stream ``NAME`` arrives in Verilog as ``NAME__payload``, ``NAME__valid`` and
``NAME__ready``. A monitor looks at the three once per clock, at the rising edge, when they have
the values that the edge sees; it checks the rule of streams and hands every transfer to whoever
listens. Sources and sinks look only at their monitor, and drive once per clock, after it. Nothing
in here waits: the bench calls `sample` and `drive`, so one clock is one turn of one loop and the
order of events within a clock is the same in every simulator.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator, Sized
from typing import Any, Protocol, TypeAlias

Pauses: TypeAlias = Iterator[bool]
"""Says for each clock whether to pause in it."""

Listener: TypeAlias = Callable[[int, int], None]
"""Called with the payload and the clock of a transfer."""


class StreamError(AssertionError):
    """A stream broke its rule, or carried an unknown bit."""


class Signal(Protocol):
    """What is needed of a simulator's signal."""

    value: Any


def no_pauses() -> Pauses:
    """Return a generator that never pauses."""
    return itertools.repeat(False)


def random_pauses(rng: random.Random) -> Pauses:
    """Return a generator of runs: most a few clocks long, some longer than any pipeline."""
    while True:
        for pause in (False, True):
            longest = rng.choice((1, 2, 3, 3, 24) if pause else (1, 4, 4, 12, 24))
            yield from itertools.repeat(pause, rng.randint(1, longest))


def read(signal: Signal, name: str) -> int:
    """Return the value of a signal.

    Raises
    ------
    StreamError
        If a bit is x or z.
    """
    value = signal.value
    try:
        return int(value)
    except ValueError:
        raise StreamError(f"{name} is {value}: not every bit is 0 or 1") from None


class StreamRule:
    """Once valid, neither valid nor the payload may change until the transfer."""

    def __init__(self, name: str):
        self._name = name
        self._offered: int | None = None

    def check(self, valid: bool, ready: bool, payload: int | None) -> None:
        """Look at one clock; `payload` matters only while valid."""
        if self._offered is not None:
            if not valid:
                raise StreamError(f"{self._name}: valid fell before the transfer")
            if payload != self._offered:
                raise StreamError(
                    f"{self._name}: the payload changed from {self._offered:#x} "
                    f"to {payload:#x} before the transfer"
                )
        self._offered = payload if valid and not ready else None

    def reset(self) -> None:
        """Forget what was offered: a reset may take it back."""
        self._offered = None


class Monitor:
    """Watches one stream.

    Parameters
    ----------
    dut : object
        Has the stream's signals as attributes.
    name : str
        Name of the stream.
    listener : callable
        Called with payload and clock of each transfer.

    Attributes
    ----------
    valid, ready : bool
        The handshake in the clock that was sampled last.
    transferred : bool
        There was a transfer in that clock.
    transfers : int
        Transfers since the beginning.
    waited : int
        Clocks for which what is offered was offered before.
    """

    def __init__(self, dut: object, name: str, listener: Listener):
        self.name = name
        self.payload_signal: Signal = getattr(dut, f"{name}__payload")
        self.valid_signal: Signal = getattr(dut, f"{name}__valid")
        self.ready_signal: Signal = getattr(dut, f"{name}__ready")
        self.valid = self.ready = self.transferred = False
        self.transfers = self.waited = 0
        self._listener = listener
        self._rule = StreamRule(name)

    def sample(self, clock: int, *, reset: bool = False) -> None:
        """Look at the stream in this clock; in reset there are no transfers and no rule."""
        self.transferred = False
        if reset:
            self._rule.reset()
            self.waited = 0
            return
        self.valid = bool(read(self.valid_signal, f"{self.name}__valid"))
        self.ready = bool(read(self.ready_signal, f"{self.name}__ready"))
        payload = read(self.payload_signal, f"{self.name}__payload") if self.valid else None
        self._rule.check(self.valid, self.ready, payload)
        if payload is not None and self.ready:
            self.transferred = True
            self.transfers += 1
            self._listener(payload, clock)
        self.waited = self.waited + 1 if self.valid and not self.ready else 0


class Feed(Protocol):
    """Drives a stream that the unit reads."""

    @property
    def queue(self) -> Sized:
        """What is still to be taken."""
        ...

    def clear(self) -> None:
        """Take back everything; only a reset allows that."""
        ...

    def drive(self) -> None:
        """Drive the stream for the next clock."""
        ...


class Source:
    """Offers payloads to a stream that the unit reads.

    Parameters
    ----------
    monitor : Monitor
    pauses : Pauses
        When not to offer the next payload. What is offered stays offered.
    filler : callable
        Returns what the payload shows while nothing is offered: the unit must not care.
    """

    def __init__(self, monitor: Monitor, pauses: Pauses, filler: Callable[[], int]):
        self.queue: deque[int] = deque()
        self._monitor = monitor
        self._pauses = pauses
        self._filler = filler
        self._offering = False
        monitor.valid_signal.value = 0
        monitor.payload_signal.value = filler()

    def clear(self) -> None:
        """Take back everything, what is being offered included; only a reset allows that."""
        self.queue.clear()
        self._offering = False

    def drive(self) -> None:
        """Drive the stream for the next clock."""
        monitor = self._monitor
        if monitor.transferred:
            self.queue.popleft()
            self._offering = False
        if self._offering:
            return
        self._offering = bool(self.queue) and not next(self._pauses)
        monitor.payload_signal.value = self.queue[0] if self._offering else self._filler()
        monitor.valid_signal.value = int(self._offering)


class Sink:
    """Takes payloads from a stream that the unit writes.

    Parameters
    ----------
    monitor : Monitor
    pauses : Pauses
        When not to be ready.

    Attributes
    ----------
    held : bool
        Set to be never ready.
    """

    def __init__(self, monitor: Monitor, pauses: Pauses):
        self.held = False
        self._signal = monitor.ready_signal
        self._pauses = pauses
        self._signal.value = 0

    def drive(self) -> None:
        """Drive the stream for the next clock."""
        self._signal.value = int(not next(self._pauses) and not self.held)
