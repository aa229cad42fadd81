"""The bench around one update unit: its ports, its clock, and how to talk to it.

Everything happens in `cycle`: at each rising edge all monitors look, then all drivers drive. A
scenario queues commands, gradients and host accesses, and calls `cycle` until what it waits for
has happened.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from upshift import layout, registers
from upshift.formats import Raw
from upshift.report import Refusal
from upshift.vectors import Vector, beats
from upshift_sim.bench.case import UnitCase
from upshift_sim.bench.scoreboard import Burst, MismatchError, Scoreboard
from upshift_sim.bench.streams import Feed, Monitor, Sink, Source, no_pauses, random_pauses, read
from upshift_sim.bench.unit_bins import COUNTED, Bin, UnitCoverage

PATIENCE = 500
"""Clocks without any transfer after which a unit that owes something is called stuck."""

COUNTERS = (*COUNTED,)


class UnitBench:
    """One update unit with everything that is connected to it.

    Parameters
    ----------
    dut : object
        The top module's handle.
    case : UnitCase
    edge : callable
        Returns what to await for the next rising edge of the clock, which runs already.

    Attributes
    ----------
    config : UnitConfig
    rng : random.Random
    clock : int
        Rising edges so far.
    scoreboard : Scoreboard
    coverage : UnitCoverage
    commands, gradients, access : Source
    reports, weights, updates : Sink
        `updates` only where the unit sends any.
    reuse : int
        Clocks from a beat to the first that may have the same row, nothing else in the way.
    """

    def __init__(self, dut: Any, case: UnitCase, edge: Callable[[], Awaitable[object]]):
        self.case = case
        self.config = config = case.unit
        self.rng = random.Random(case.seed)
        self.clock = 0
        # Outside the unit, a row that came back in one clock can go out again in the next.
        self.reuse = case.distance if config.memory == "resident" else case.latency + 1
        self.coverage = UnitCoverage(config, self.reuse)
        self._dut = dut
        self._edge = edge
        self._resetting = False
        self._quiet = 0
        self._blocked: Counter[Bin] = Counter()
        self._beats_sent = 0
        self._beats_counted = 0
        self._without_work = 0
        self._counts: dict[str, tuple[int, int]] = {}

        self.scoreboard = board = self._scoreboard()
        self._commands = Monitor(dut, "i_command", board.on_command)
        self._gradients = Monitor(dut, "i_gradients", self._on_gradients)
        self._reports = Monitor(dut, "o_report", board.on_report)
        self.commands = self._source(self._commands, layout.width(layout.command(config)))
        self.gradients = self._source(self._gradients, layout.width(layout.gradients(config)))
        self.reports = Sink(self._reports, self._pauses(case.stall))
        # Monitors in the order of cause and effect within one clock.
        self._monitors = [self._commands, self._gradients, self._reports]
        self._drivers: list[Feed | Sink] = [self.commands, self.gradients, self.reports]
        self._sources: list[Feed] = [self.commands, self.gradients]
        self._connect_weights(dut)

    def _scoreboard(self) -> Scoreboard:
        return Scoreboard(self.config, self.case.latency, self.coverage.observe)

    def _connect_weights(self, dut: Any) -> None:
        """Connect the streams over which a host reaches the weights, and what is told of them."""
        self._access = Monitor(dut, "i_access", self._on_access)
        self._weights = Monitor(dut, "o_weights", self.scoreboard.on_weights)
        bits = layout.width(layout.access(self.config))
        self.access = Source(self._access, no_pauses(), lambda: self.rng.getrandbits(bits))
        self.weights = Sink(self._weights, self._pauses(self.case.stall))
        self._monitors = [self._access, *self._monitors, self._weights]
        self._drivers += [self.access, self.weights]
        self._sources.append(self.access)
        if self.config.updates:
            self._updates = Monitor(dut, "o_updates", self.scoreboard.on_update)
            self.updates = Sink(self._updates, self._pauses(self.case.stall))
            self._monitors.append(self._updates)
            self._drivers.append(self.updates)

    def _pauses(self, wanted: bool) -> Any:
        return random_pauses(self.rng) if wanted else no_pauses()

    def _source(self, monitor: Monitor, bits: int) -> Source:
        return Source(monitor, self._pauses(self.case.idle), lambda: self.rng.getrandbits(bits))

    def _on_gradients(self, payload: int, clock: int) -> None:
        self.scoreboard.on_gradients(payload, clock, self._gradients.waited)

    def _on_access(self, payload: int, clock: int) -> None:
        write = layout.unpack(layout.access(self.config), payload)["write"]
        if self.scoreboard.access_waited:
            self.coverage.hit(Bin.HOST_WRITE_WAITED if write else Bin.HOST_READ_WAITED)
        self.scoreboard.on_access(payload, clock)

    # -- time -------------------------------------------------------------------------------

    async def start(self) -> None:
        """Reset the unit."""
        self._dut.bus__address.value = 0
        self._dut.bus__write_enable.value = 0
        self._dut.bus__write_data.value = 0
        self._dut.rst.value = 1
        await self.reset()

    async def cycle(self) -> None:
        """Let one rising edge pass: look at all streams, then drive them."""
        await self._edge()
        self.clock += 1
        if not self._resetting:
            self._look_ahead()
        for monitor in self._monitors:
            monitor.sample(self.clock, reset=self._resetting)
        for driver in self._drivers:
            driver.drive()
        moved = any(monitor.transferred for monitor in self._monitors)
        self._quiet = 0 if moved else self._quiet + 1
        self._watch()

    def _look_ahead(self) -> None:
        """Look at what matters before any transfer of the clock."""
        offered = read(self._access.valid_signal, "i_access__valid")
        self.scoreboard.watch_access(bool(offered), self.clock)

    def _watch(self) -> None:
        """Recognize what is seen only by looking at several streams at once."""
        if not self.scoreboard.wanting:
            self._without_work = self.clock
        self._watch_stop(Bin.REPORTS_HELD, self._commands, self._reports)
        if self.config.updates:
            self._watch_stop(Bin.UPDATES_HELD, self._gradients, self._updates)

    def _watch_stop(self, name: Bin, source: Monitor, sink: Monitor) -> None:
        """Recognize that nothing is taken from a source while nothing is taken by a sink."""
        stuck = source.valid and not source.ready and sink.valid and not sink.ready
        self._blocked[name] = self._blocked[name] + 1 if stuck else 0
        if self._blocked[name] == 32:
            self.coverage.hit(name)

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Let clocks pass until a condition holds; `what` says what for.

        Raises
        ------
        MismatchError
            If nothing moves any more.
        """
        self._quiet = 0
        while not condition():
            if self._quiet > PATIENCE:
                streams = ", ".join(
                    f"{m.name} valid={m.valid:d} ready={m.ready:d}" for m in self._monitors
                )
                raise MismatchError(
                    f"nothing moved for {PATIENCE} clocks, waiting {what}: {streams}"
                )
            await self.cycle()

    async def reset(self, clocks: int = 2) -> None:
        """Hold the unit in reset, and take back everything that was queued."""
        board = self.scoreboard
        if board.partial:
            self.coverage.hit(Bin.RESET_IN_BURST)
        self._resetting = True
        self._dut.rst.value = 1
        for left in reversed(range(clocks)):
            if not left:
                for source in self._sources:
                    source.clear()
            await self.cycle()
            if left == clocks - 1:
                if board.in_progress(self.clock):
                    self.coverage.hit(Bin.RESET_IN_FLIGHT)
                board.on_reset(self.clock)
        self._dut.rst.value = 0
        self._resetting = False
        self.coverage.forget()
        self._beats_sent = self._beats_counted = self._gradients.transfers

    # -- commands ---------------------------------------------------------------------------

    def send(self, vectors: Iterable[Vector]) -> None:
        """Queue commands and their gradients; lanes outside a burst carry anything."""
        config, bits = self.config, self.config.gradient.width
        for vector in vectors:
            command = vector.command
            self.commands.queue.append(layout.pack(layout.command(config), command.fields()))
            offset = command.base % config.lanes
            for number, beat in enumerate(beats(config, vector)):
                first = number * config.lanes - offset
                words = [
                    int(word) if 0 <= position < command.count else self.rng.getrandbits(bits)
                    for position, word in enumerate(beat, first)
                ]
                self.gradients.queue.append(layout.pack_lanes(words, bits))
                self._beats_sent += 1

    async def play(self, vectors: Iterable[Vector]) -> Sequence[Burst]:
        """Send vectors, wait for all reports, and return the bursts as they were seen."""
        before = len(self.scoreboard.history)
        self.send(vectors)
        await self.drain()
        return self.scoreboard.history[before:]

    async def drain(self) -> None:
        """Wait until nothing is queued or expected any more."""
        await self.until(
            lambda: self.scoreboard.drained and not any(source.queue for source in self._sources),
            "for reports and rows",
        )

    async def settle(self) -> None:
        """Drain, count, check the counters, and read back every row that may have changed."""
        await self.drain()
        board = self.scoreboard
        if board.bursts != board.reports + board.lost:
            raise MismatchError(
                f"{board.bursts} commands, but {board.reports} reports and {board.lost} lost"
            )
        if self._gradients.transfers != self._beats_sent:
            raise MismatchError(
                f"{self._beats_sent} beats sent, but {self._gradients.transfers} taken"
            )
        await self.check_counters()
        await self.read_rows(sorted(board.touched))
        if board.touched:
            raise MismatchError(f"rows {sorted(board.touched)} were not compared")

    # -- weights --------------------------------------------------------------------------------

    def host_write(self, row: int, weights: Sequence[int], mask: int) -> None:
        """Queue a host write."""
        payload = layout.pack_lanes(weights, self.config.weight.width)
        values = {"row": row, "write": 1, "mask": mask, "weights": payload}
        self.access.queue.append(layout.pack(layout.access(self.config), values))

    def host_read(self, row: int) -> None:
        """Queue a host read."""
        self.access.queue.append(layout.pack(layout.access(self.config), {"row": row}))

    async def load(self, weights: Raw) -> None:
        """Write the whole memory."""
        everything = (1 << self.config.lanes) - 1
        for row, words in enumerate(weights.reshape(-1, self.config.lanes).tolist()):
            self.host_write(row, words, everything)
        await self.drain()

    async def read_rows(self, rows: Iterable[int]) -> None:
        """Read rows back; the scoreboard compares them."""
        for row in rows:
            self.host_read(row)
        await self.drain()

    async def read_all(self) -> Raw:
        """Read the whole memory and return what the unit gave."""
        await self.read_rows(range(self.config.rows))
        return self.scoreboard.seen.copy()

    # -- registers ------------------------------------------------------------------------------

    async def read_address(self, address: int) -> int:
        """Return what the bus reads at an address."""
        self._dut.bus__address.value = address
        await self.cycle()
        self._observe_bus(Bin.READ_IN_BURST, Bin.READ_BETWEEN)
        await self.cycle()
        return read(self._dut.bus__read_data, "bus__read_data")

    def _observe_bus(self, in_burst: Bin, between: Bin) -> None:
        """Count a bus access in this clock."""
        if self.scoreboard.in_progress(self.clock):
            self.coverage.hit(in_burst)
        elif not self.scoreboard.wanting:
            self.coverage.hit(between)

    async def read_register(self, name: str, field: str = "value") -> int:
        """Return a field of a register."""
        register = registers.BY_NAME[name]
        word = await self.read_address(register.address)
        found = next(f for f in register.fields if f.name == field)
        value = word >> found.offset & ((1 << found.width) - 1)
        if name in COUNTED:
            clock, before = self._counts.get(name, (0, value))
            if value > before and clock > self._without_work:
                self.coverage.hit(COUNTED[name])
            self._counts[name] = self.clock, value
        return value

    async def write_register(self, name: str, word: int) -> None:
        """Write a register."""
        self._dut.bus__address.value = registers.BY_NAME[name].address
        self._dut.bus__write_data.value = word
        self._dut.bus__write_enable.value = 1
        await self.cycle()
        self._dut.bus__write_enable.value = 0

    async def clear_error(self, cause: Refusal) -> None:
        """Clear a cause that the error register shows, and no other.

        Raises
        ------
        MismatchError
            If it was not shown, or if something else is shown then.
        """
        shown = await self.read_register("error", "refusal")
        await self.write_register("error", cause)
        self._observe_bus(Bin.CLEARED_IN_BURST, Bin.CLEARED_BETWEEN)
        left = await self.read_register("error", "refusal")
        if not shown & cause or left != shown & ~cause:
            raise MismatchError(f"error was {shown:#x}, {left:#x} after clearing {cause!r}")

    @property
    def beats_taken(self) -> int:
        """Gradient beats taken since the last reset."""
        return self._gradients.transfers - self._beats_counted

    async def counters(self) -> dict[str, int]:
        """Return the counters, once they have caught up with what has been."""
        for _ in range(16):
            await self.cycle()
        return {name: await self.read_register(name) for name in COUNTERS}

    async def check_counters(self) -> None:
        """Check that the counters add up; they count from the last reset."""
        found = await self.counters()
        if found["clocks"] != found["beats"] + found["stalls"] + found["waits"]:
            raise MismatchError(f"clocks are not beats, stalls and waits: {found}")
        if found["beats"] != self.beats_taken:
            raise MismatchError(f"{self.beats_taken} beats were taken, counted were {found}")
        if found["waits"] > (self.case.distance - 1) * found["beats"]:
            raise MismatchError(f"more than {self.case.distance - 1} waits per beat: {found}")
