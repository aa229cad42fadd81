"""Compares the unit with the integer model, fed by what the monitors saw on its ports.

Commands and gradient beats come from the input monitors, so the model computes what the unit was
really given. A burst is executed by the model when its last beat has been taken, and its report
is expected in order. The arbitration rule of host accesses is checked on the way: an access waits
for the burst in progress and goes before the next one, and data that was read is taken before the
next burst starts. A burst that starts in the clock after the access is offered, or before, is the
one in progress. After a reset, weights that were on their way may be old or new; `resets` says
which, and the first row read afterwards settles it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from upshift import layout
from upshift.config import UnitConfig
from upshift.formats import Fixed, Raw
from upshift.layout import Operation
from upshift.reference import Command, Unit
from upshift_sim.bench.resets import possible_weights
from upshift_sim.bench.rows import updated


class MismatchError(AssertionError):
    """The unit did something else than the model."""


def require(condition: bool, message: str) -> None:
    """Raise MismatchError with a message unless a condition holds."""
    if not condition:
        raise MismatchError(message)


@dataclass
class Burst:
    """One command and what has happened to it so far."""

    command: Command
    beats: int
    """Beats that belong to it."""
    lanes: int
    taken: int = 0
    """When the command was taken."""
    words: list[int] = field(default_factory=list)
    """Raw gradients of all lanes of the beats taken."""
    clocks: list[int] = field(default_factory=list)
    """When each beat was taken."""
    waited: list[int] = field(default_factory=list)
    """Clocks for which each beat was offered before."""
    before: Raw = field(default_factory=lambda: np.zeros(0, np.int64))
    after: Raw = field(default_factory=lambda: np.zeros(0, np.int64))
    """Weights of an accepted update, before and after."""
    report: dict[str, int] = field(default_factory=dict)
    """What the unit must report."""

    @property
    def gradients(self) -> Raw:
        """The raw gradients that belong to the burst."""
        offset = self.command.base % self.lanes
        return np.array(self.words[offset : offset + self.command.count], np.int64)

    @property
    def addresses(self) -> range:
        """The weights that it updates."""
        return range(self.command.base, self.command.base + self.command.count)

    def touched(self, beat: int) -> range:
        """Return the weights that one of its beats updates."""
        row = (self.command.base // self.lanes + beat) * self.lanes
        addresses = self.addresses
        return range(max(row, addresses.start), min(row + self.lanes, addresses.stop))


Observer = Callable[[Burst, Mapping[str, int]], None]
"""Called with each burst whose report was right, and the report."""


def unpack_words(config: UnitConfig, payload: int) -> list[int]:
    """Return the raw gradients of a beat."""
    bits = config.gradient.width
    words = [(payload >> (j * bits)) & ((1 << bits) - 1) for j in range(config.lanes)]
    if isinstance(config.gradient, Fixed):
        return [word - (1 << bits) if word >> (bits - 1) else word for word in words]
    return words


class Scoreboard:
    """The model, what it expects, and what was compared so far.

    Parameters
    ----------
    config : UnitConfig
    latency : int
        Clocks from a beat to the clock in which its weights are written.
    observer : callable
        Called with each burst whose report was right.

    Attributes
    ----------
    history : list of Burst
        Bursts executed since the last reset, in order.
    bursts, elements, lost, reports, weights, rows : int
        Commands seen; elements updated; reports that a reset swallowed; reports and weights
        compared; rows compared that left by a stream without being asked for.
    seen : ndarray of int64, shape (depth,)
        Each weight as it was read last.
    touched : set of int
        Rows that may have changed since they were last read.
    access_waited : bool
        The host access that was taken last had to wait for a burst.
    """

    def __init__(self, config: UnitConfig, latency: int, observer: Observer):
        self.config = config
        self.unit = Unit(config)
        self.history: list[Burst] = []
        self.bursts = self.elements = self.lost = self.reports = self.weights = self.rows = 0
        self.seen = np.zeros(config.depth, np.int64)
        self.touched: set[int] = set()
        self.access_waited = False
        self._latency = latency
        self._observer = observer
        self._filling: deque[Burst] = deque()
        self._reported: deque[Burst] = deque()
        self._rows: deque[tuple[int, list[set[int]]]] = deque()
        self._updates: deque[dict[str, int]] = deque()
        self._uncertain: dict[int, set[int]] = {}
        self._last_beat = -1 - latency
        self._offered: int | None = None
        self._command = layout.command(config)
        self._report = layout.report(config)
        self._access = layout.access(config)
        self._update = layout.updates(config)

    # -- state ---------------------------------------------------------------------------------

    @property
    def partial(self) -> int:
        """Beats taken of the burst whose beats are still being taken; 0 if there is none."""
        return len(self._filling[0].clocks) if self._filling else 0

    @property
    def wanting(self) -> bool:
        """A command was taken whose beats have not all been."""
        return bool(self._filling)

    @property
    def drained(self) -> bool:
        """Nothing is expected any more."""
        return not (self._filling or self._reported or self._rows or self._updates)

    def in_progress(self, clock: int) -> bool:
        """Return whether a burst has taken beats and may not have written its last weight."""
        return self.partial > 0 or clock <= self._last_beat + self._latency

    # -- what the monitors see -----------------------------------------------------------------

    def on_command(self, payload: int, clock: int) -> None:
        """Take note of a command."""
        fields = layout.unpack(self._command, payload)
        command = Command(
            Operation(fields["operation"]),
            fields["base"],
            fields["count"],
            fields["rate"],
            fields["resolution"],
        )
        wants_beats = command.operation == Operation.UPDATE and command.count
        beats = self.config.beats(command.base, command.count) if wants_beats else 0
        self.bursts += 1
        self._filling.append(Burst(command, beats, self.config.lanes, clock))
        self._execute()

    def on_gradients(self, payload: int, clock: int, waited: int = 0) -> None:
        """Take note of a gradient beat, which was offered for `waited` clocks before."""
        if not self._filling:
            raise MismatchError("a gradient beat was taken that no command asked for")
        if self._rows:
            raise MismatchError("a burst started before the data of a host read was taken")
        burst = self._filling[0]
        if self._offered is not None and not burst.clocks and clock > self._offered + 1:
            raise MismatchError(
                f"a burst started {clock - self._offered} clocks after a host access was offered"
            )
        burst.words += unpack_words(self.config, payload)
        burst.clocks.append(clock)
        burst.waited.append(waited)
        self._last_beat = clock
        if self.config.updates and not self.unit.refusal(burst.command):
            self._expect_update(burst)
        self._execute()

    def _expect_update(self, burst: Burst) -> None:
        lanes = self.config.lanes
        row = burst.command.base // lanes + len(burst.clocks) - 1
        mask, new = updated(self.config, burst, self.unit.weights[row * lanes : (row + 1) * lanes])
        last = len(burst.clocks) == burst.beats
        weights = layout.pack_lanes(new.tolist(), self.config.weight.width)
        self._updates.append({"row": row, "mask": mask, "last": last, "weights": weights})

    def on_update(self, payload: int, clock: int) -> None:
        """Compare a row that the unit says it has updated."""
        if not self._updates:
            raise MismatchError("an update was sent that no beat explains")
        expected, found = self._updates.popleft(), layout.unpack(self._update, payload)
        told, wanted = (
            (
                *(update[name] for name in ("row", "last", "mask")),
                *(
                    word
                    for lane, word in enumerate(layout.unpack_lanes(self.config, update["weights"]))
                    if expected["mask"] >> lane & 1
                ),
            )
            for update in (found, expected)
        )
        if told != wanted:
            raise MismatchError(
                f"an update differs: row, last, mask and weights are {told}, expected {wanted}"
            )
        self.rows += 1

    def watch_access(self, valid: bool, clock: int) -> None:
        """Take note of whether a host access is offered; before any transfer of the clock."""
        if valid and self._offered is None:
            self._offered = clock
            self.access_waited = False
        elif not valid:
            self._offered = None
        self.access_waited |= valid and self.in_progress(clock)

    def on_access(self, payload: int, clock: int) -> None:
        """Take note of a host access."""
        if self.in_progress(clock):
            raise MismatchError("a host access was served before the last write of a burst")
        self._offered = None
        fields = layout.unpack(self._access, payload)
        row, lanes = fields["row"], self.config.lanes
        if not fields["write"]:
            addresses = range(row * lanes, (row + 1) * lanes)
            self._rows.append((row, [self._possible(address) for address in addresses]))
            self.touched.discard(row)
            return
        for lane, word in enumerate(layout.unpack_lanes(self.config, fields["weights"])):
            if fields["mask"] >> lane & 1:
                self.unit.weights[row * lanes + lane] = word
                self._uncertain.pop(row * lanes + lane, None)
        self.touched.add(row)

    def on_weights(self, payload: int, clock: int) -> None:
        """Compare a row that was read."""
        if not self._rows:
            raise MismatchError("a row of weights came that no access asked for")
        row, expected = self._rows.popleft()
        for lane, word in enumerate(layout.unpack_lanes(self.config, payload)):
            address = row * self.config.lanes + lane
            if word not in expected[lane]:
                raise MismatchError(
                    f"weight {address} differs: it is {word}, expected "
                    + " or ".join(map(str, sorted(expected[lane])))
                )
            if self._uncertain.pop(address, None):
                self.unit.weights[address] = word
            self.seen[address] = word
            self.weights += 1

    def on_report(self, payload: int, clock: int) -> None:
        """Compare a report."""
        if not self._reported:
            raise MismatchError("a report came that no finished command explains")
        burst = self._reported.popleft()
        report = layout.unpack(self._report, payload)
        if report != burst.report:
            wrong = ", ".join(
                f"{name} is {report[name]}, expected {burst.report[name]}"
                for name in report
                if report[name] != burst.report[name]
            )
            raise MismatchError(f"the report of {burst.command} differs: {wrong}")
        self.reports += 1
        self._observer(burst, report)

    def on_reset(self, clock: int) -> None:
        """Take note that the unit is in reset in this clock."""
        journal = [*self.history, *list(self._filling)[:1]]
        for burst in journal:
            for address, values in possible_weights(
                self.config, burst, self.unit, written_before=clock - self._latency
            ).items():
                # Several bursts may have been on their way to the same weight.
                self._uncertain[address] = self._uncertain.get(address, set()) | values
                self.touched.add(address // self.config.lanes)
        self.lost += len(self._reported) + len(self._filling)
        self.history.clear()
        self._filling.clear()
        self._reported.clear()
        self._rows.clear()
        self._updates.clear()
        self._offered = None
        self._last_beat = clock - 1 - self._latency
        self.unit.floor = 0

    # -- the model -----------------------------------------------------------------------------

    def _possible(self, address: int) -> set[int]:
        return self._uncertain.get(address, {int(self.unit.weights[address])})

    def _execute(self) -> None:
        """Execute the commands that have all their beats."""
        while self._filling and len(self._filling[0].clocks) == self._filling[0].beats:
            burst = self._filling.popleft()
            here = slice(burst.addresses.start, burst.addresses.stop)
            before = self.unit.weights[here].copy()
            if not self._uncertain.keys().isdisjoint(burst.addresses):
                raise MismatchError("after a reset, a burst came before its weights were read")
            burst.report = self.unit.execute(burst.command, burst.gradients)
            if not burst.report["refusal"] and burst.beats:
                burst.before, burst.after = before, self.unit.weights[here].copy()
                self.elements += burst.command.count
                lanes = self.config.lanes
                first, last = burst.addresses[0] // lanes, burst.addresses[-1] // lanes
                self.touched.update(range(first, last + 1))
            self.history.append(burst)
            self._reported.append(burst)
