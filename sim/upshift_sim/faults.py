"""Line faults: the shipped driver, a bad cable and a board compiled from its RTL.

Random bursts are sent over a line that loses, cuts, doubles, reorders and damages frames, stalls,
is pulled out, or takes the board's power with it, and hosts die in the middle of it. In the end
the weights and all reports must be those of a clean run, or the driver must have raised an error,
and what that says of the board must be true.
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from upshift import words
from upshift.config import UnitConfig
from upshift.device import DeviceError, Pending
from upshift.device.link import LinkDevice
from upshift.formats import Raw
from upshift.link.config import LinkConfig
from upshift.link.faults import FaultRates, FaultyLine
from upshift.link.frames import max_payload
from upshift.link.mirror import writes
from upshift.link.transport import Transport
from upshift.reference import step
from upshift.report import UpdateReport
from upshift_sim.board import BoardTransport, VirtualBoard

CONFIG = UnitConfig(lanes=4, depth=64, max_rate=20)
LINK = LinkConfig(clock=4_000_000, baud=1_000_000, frame_bytes=128)
"""Short frames and few clocks per bit, so that faults are many per second."""

KINDS = tuple(kind.name for kind in dataclasses.fields(FaultRates))
_BURSTS = 40
_LONGEST = 48  # one frame each, so that commands can be counted
_STATE = re.compile(r"(\d+) commands are applied(?:, (\d+) more may be)?")
_HOPELESS = FaultRates(drop=0.3, flip=0.6)


class HostDied(BaseException):
    """The process that drives a line is killed. No driver can catch that."""


class MortalLine:
    """A line whose host dies after some exchanges; a `Transport`.

    Parameters
    ----------
    line : Transport

    Attributes
    ----------
    lives : int or None
        Exchanges that are left; None for as many as it takes.
    """

    def __init__(self, line: Transport):
        self.name = line.name
        self.lives: int | None = None
        self._line = line
        self.reopen, self.now, self.wake, self.close = line.reopen, line.now, line.wake, line.close

    def exchange(self, data: bytes, timeout: float) -> tuple[int, bytes]:
        """See `Transport`."""
        if self.lives is not None:
            self.lives -= 1
            if self.lives < 0:
                self.lives = None
                raise HostDied
        return self._line.exchange(data, timeout)


@dataclass(frozen=True)
class Outcome:
    """What became of one run.

    Attributes
    ----------
    scenario : str
    verdict : str
        ``"equal"``, ``"error"`` (one that told the truth) or ``"wrong"``.
    message : str
        Of the error, or what was wrong.
    faults : collections.Counter
        Faulted frames by kind; ``host`` counts hosts that died.
    bytes : int
        That passed, in both directions.
    """

    scenario: str
    verdict: str
    message: str
    faults: Counter[str]
    bytes: int


class _Run:
    """Random bursts over a bad line, and what they must come to."""

    def __init__(
        self,
        board: VirtualBoard,
        seed: int,
        rates: FaultRates,
        *,
        timeout: float = 30.0,
        disconnect_at: int | None = None,
    ):
        board.power_cycle()
        self._board = board
        self._random = random.Random(seed)
        self._rng = np.random.default_rng(seed)
        self._timeout = timeout
        self.line = FaultyLine(
            BoardTransport(board, "virtual board"),
            self._random,
            rates,
            power_cycle=board.power_cycle,
            disconnect_at=disconnect_at,
        )
        self.host = MortalLine(self.line)
        weight = board.config.weight
        # Weights after each command; several commands write the first.
        self.history = [self._rng.integers(weight.min, weight.max + 1, board.config.depth)]
        self._pending: list[tuple[Pending, UpdateReport]] = []

    def open(self) -> None:
        """Start the host, with the last weights as its checkpoint."""
        self._pending = []
        self.history = self.history[-1:]
        self._device = LinkDevice(
            self.host,
            self._board.config,
            timeout=self._timeout,
            reconnect=300.0,
            rng=self._random,
        )
        self._device.write(0, self.history[-1])

    def submit(self, bursts: int) -> None:
        """Send random bursts."""
        config, rng = self._board.config, self._rng
        for _ in range(bursts):
            base = int(rng.integers(config.depth))
            count = int(rng.integers(1, min(_LONGEST, config.depth - base) + 1))
            low, width = -1 << (config.gradient.width - 1), config.gradient.width
            raw = rng.integers(low, -low, count) >> rng.integers(width)
            rate, resolution = int(rng.integers(8)), int(rng.integers(config.max_resolution + 1))
            weights = self.history[-1].copy()
            part = weights[base : base + count]
            part[:], report = step(part, raw, config=config, rate=rate, resolution=resolution)
            self.history.append(weights)
            pending = self._device.submit(base, raw, rate=rate, resolution=resolution)
            self._pending.append((pending, report))

    def draw(self, below: int) -> int:
        """Return a random number from 0 on."""
        return self._random.randrange(below)

    def finish(self) -> None:
        """Wait for all reports."""
        for pending, _ in self._pending:
            pending.result()

    @property
    def faults(self) -> Counter[str]:
        """Faulted frames by kind, and hosts that died."""
        return self.line.faults

    def check(self) -> str:
        """Return what differs from a clean run, nothing if all is well."""
        for n, (pending, report) in enumerate(self._pending):
            if (got := pending.result()) != report:
                return f"report {n} is {got} instead of {report}"
        config, weights = self._board.config, self.history[-1]
        if self._device.checksum(0, config.depth) != words.checksum(weights, config.weight.width):
            return "the checksum differs"
        self.line.rates = FaultRates()
        return _difference(self._device.read(0, config.depth), weights)

    def lies(self, error: DeviceError) -> str:
        """Return what is not true in what an error says of the board."""
        said = _STATE.search(str(error))
        if said is None:
            return f"an error that names no state: {error}"
        transport = BoardTransport(self._board, "virtual board")
        transport.reopen(5.0)  # what is on its way arrives
        config, longest = self._board.config, max_payload(self._board.link.frame_bytes)
        held = LinkDevice(transport, rng=self._random).read(0, config.depth)
        at_first = len(list(writes(config, 0, self.history[0], longest)))
        applied, more = int(said[1]) - at_first, int(said[2] or 0)
        if applied < 0:
            return ""  # the weights were not all written yet
        if any(np.array_equal(held, w) for w in self.history[applied : applied + more + 1]):
            return ""
        return f"the board does not hold what the error says: {error}"


def _difference(found: Raw, expected: Raw) -> str:
    different = np.flatnonzero(found != expected)
    return f"{different.size} weights differ, the first at {different[0]}" if different.size else ""


def _clean_end(run: _Run) -> tuple[str, str]:
    run.open()
    run.submit(_BURSTS)
    return _verdict(run)


def _exchange(run: _Run) -> tuple[str, str]:
    """Send two bursts, so that a cable can be pulled at every byte of it in a short time."""
    run.open()
    run.submit(2)
    return _verdict(run)


def _verdict(run: _Run) -> tuple[str, str]:
    wrong = run.check()
    return ("wrong", wrong) if wrong else ("equal", "")


def _dying_host(run: _Run) -> tuple[str, str]:
    """Kill the host now and then; its checkpoint is what it had before its last bursts."""
    run.open()
    for _ in range(6):
        checkpoint = run.history[-1]
        run.host.lives = run.draw(40)
        try:
            run.submit(run.draw(12))
            run.finish()
            run.host.lives = None
        except HostDied:
            run.faults["host"] += 1
            run.history.append(checkpoint)
            run.open()
    run.submit(_BURSTS)
    return _verdict(run)


def _hopeless(run: _Run) -> tuple[str, str]:
    """Let almost nothing through after a while: the driver must give up, and tell the truth."""
    run.open()
    run.submit(run.draw(_BURSTS))
    run.line.rates = _HOPELESS
    run.submit(_BURSTS)
    return _verdict(run)


@dataclass(frozen=True)
class Scenario:
    """What a line does, and what a host does meanwhile.

    Attributes
    ----------
    name : str
    rates : FaultRates
    play : callable
        Plays a run; returns its verdict and what is wrong.
    timeout : float
        Seconds after which the driver gives a silent board up.
    every_byte : bool
        The line is gone once, at a byte that moves from run to run.
    """

    name: str
    rates: FaultRates
    play: Callable[[_Run], tuple[str, str]] = _clean_end
    timeout: float = 30.0
    every_byte: bool = False


def _mixed(each: float, *, disconnect: float = 0.0, power: float = 0.0) -> FaultRates:
    line = dict.fromkeys(("drop", "cut", "duplicate", "reorder", "flip", "noise", "stall"), each)
    return FaultRates(**line, disconnect=disconnect, power=power)


SCENARIOS = (
    *(Scenario(kind, FaultRates(**{kind: 0.1})) for kind in KINDS),
    Scenario("all together", _mixed(0.03, disconnect=0.005, power=0.003)),
    Scenario("all together, often", _mixed(0.06, disconnect=0.01, power=0.006)),
    Scenario("gone at each byte", FaultRates(), _exchange, every_byte=True),
    Scenario("host dies", _mixed(0.02), _dying_host),
    Scenario("hopeless", FaultRates(flip=0.02), _hopeless, timeout=3.0),
)


def play(board: VirtualBoard, scenario: Scenario, seed: int, position: int) -> Outcome:
    """Play one run.

    Parameters
    ----------
    board : VirtualBoard
        Of any state; it is configured anew.
    scenario : Scenario
    seed : int
    position : int
        Bytes after which the line is gone, where that is the scenario.
    """
    run = _Run(
        board,
        seed,
        scenario.rates,
        timeout=scenario.timeout,
        disconnect_at=position if scenario.every_byte else None,
    )
    try:
        verdict, message = scenario.play(run)
    except DeviceError as error:
        wrong = run.lies(error)
        verdict, message = ("wrong", wrong) if wrong else ("error", str(error))
    if scenario.every_byte and run.line.bytes > position:
        run.faults["disconnect"] += 1
    return Outcome(scenario.name, verdict, message, run.faults, run.line.bytes)
