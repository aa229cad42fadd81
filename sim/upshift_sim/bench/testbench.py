"""The bench around one update unit: its ports, its clock, and how to talk to it.

Everything happens in `cycle`: at each rising edge all monitors look, then all drivers drive. A
scenario queues commands, gradients and host accesses, and calls `cycle` until what it waits for
has happened.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from upshift import layout, registers
from upshift.formats import Raw
from upshift.vectors import Vector, beats
from upshift_sim.bench.case import Case
from upshift_sim.bench.scoreboard import Burst, MismatchError, Scoreboard
from upshift_sim.bench.streams import Monitor, Sink, Source, no_pauses, random_pauses, read
from upshift_sim.bench.unit_bins import Bin, UnitCoverage

PATIENCE = 500
"""Clocks without any transfer after which a unit that owes something is called stuck."""

COUNTERS = ("clocks", "beats", "stalls", "waits")


class UnitBench:
    """One update unit with everything that is connected to it.

    Parameters
    ----------
    dut : object
        The top module's handle.
    case : Case

    Attributes
    ----------
    config : UnitConfig
    rng : random.Random
    clock : int
        Rising edges so far.
    scoreboard : Scoreboard
    coverage : UnitCoverage
    commands, gradients, access : Source
    reports, weights : Sink
    """

    def __init__(self, dut: Any, case: Case):
        self.case = case
        self.config = config = case.unit
        self.rng = random.Random(case.seed)
        self.clock = 0
        self.coverage = UnitCoverage(config, case.distance)
        self.scoreboard = Scoreboard(config, case.latency, self.coverage.observe)
        self._dut = dut
        self._resetting = False
        self._quiet = 0
        self._blocked = 0
        self._beats_sent = 0
        self._beats_counted = 0

        board = self.scoreboard
        self._access = Monitor(dut, "i_access", self._on_access)
        self._commands = Monitor(dut, "i_command", board.on_command)
        self._gradients = Monitor(dut, "i_gradients", board.on_gradients)
        self._weights = Monitor(dut, "o_weights", board.on_weights)
        self._reports = Monitor(dut, "o_report", board.on_report)
        self._monitors = (
            self._access,
            self._commands,
            self._gradients,
            self._weights,
            self._reports,
        )
        self.commands = self._source(self._commands, layout.width(layout.command(config)))
        self.gradients = self._source(self._gradients, layout.width(layout.gradients(config)))
        bits = layout.width(layout.access(config))
        self.access = Source(self._access, no_pauses(), lambda: self.rng.getrandbits(bits))
        self.reports = Sink(self._reports, self._pauses(case.stall))
        self.weights = Sink(self._weights, self._pauses(case.stall))
        self._drivers = (self.commands, self.gradients, self.access, self.reports, self.weights)

    def _pauses(self, wanted: bool) -> Any:
        return random_pauses(self.rng) if wanted else no_pauses()

    def _source(self, monitor: Monitor, bits: int) -> Source:
        return Source(monitor, self._pauses(self.case.idle), lambda: self.rng.getrandbits(bits))

    def _on_access(self, payload: int, clock: int) -> None:
        write = layout.unpack(layout.access(self.config), payload)["write"]
        if self.scoreboard.access_waited:
            self.coverage.hit(Bin.HOST_WRITE_WAITED if write else Bin.HOST_READ_WAITED)
        self.scoreboard.on_access(payload, clock)

    # -- time -------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the clock and reset the unit."""
        self._dut.bus__address.value = 0
        self._dut.bus__write_enable.value = 0
        self._dut.bus__write_data.value = 0
        self._dut.rst.value = 1
        Clock(self._dut.clk, 10, unit="ns", impl="gpi").start(start_high=False)
        await self.reset()

    async def cycle(self) -> None:
        """Let one rising edge pass: look at all streams, then drive them."""
        await RisingEdge(self._dut.clk)
        self.clock += 1
        if not self._resetting:
            offered = read(self._access.valid_signal, "i_access__valid")
            self.scoreboard.watch_access(bool(offered), self.clock)
        for monitor in self._monitors:
            monitor.sample(self.clock, reset=self._resetting)
        for driver in self._drivers:
            driver.drive()
        moved = any(monitor.transferred for monitor in self._monitors)
        self._quiet = 0 if moved else self._quiet + 1
        self._watch_slots()

    def _watch_slots(self) -> None:
        """Recognize that commands wait while reports are not taken."""
        commands, reports = self._commands, self._reports
        stuck = commands.valid and not commands.ready and reports.valid and not reports.ready
        self._blocked = self._blocked + 1 if stuck else 0
        if self._blocked == 32:
            self.coverage.hit(Bin.REPORTS_HELD)

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
                for source in (self.commands, self.gradients, self.access):
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
        sources = (self.commands, self.gradients, self.access)
        await self.until(
            lambda: self.scoreboard.drained and not any(source.queue for source in sources),
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
        await self.cycle()
        return read(self._dut.bus__read_data, "bus__read_data")

    async def read_register(self, name: str, field: str = "value") -> int:
        """Return a field of a register."""
        register = registers.BY_NAME[name]
        word = await self.read_address(register.address)
        found = next(f for f in register.fields if f.name == field)
        return word >> found.offset & ((1 << found.width) - 1)

    async def write_register(self, name: str, word: int) -> None:
        """Write a register."""
        self._dut.bus__address.value = registers.BY_NAME[name].address
        self._dut.bus__write_data.value = word
        self._dut.bus__write_enable.value = 1
        await self.cycle()
        self._dut.bus__write_enable.value = 0

    async def counters(self) -> dict[str, int]:
        """Return the counters."""
        return {name: await self.read_register(name) for name in COUNTERS}

    async def check_counters(self) -> None:
        """Check that the counters add up; they count from the last reset."""
        found = await self.counters()
        beats_taken = self._gradients.transfers - self._beats_counted
        if found["clocks"] != found["beats"] + found["stalls"] + found["waits"]:
            raise MismatchError(f"clocks are not beats, stalls and waits: {found}")
        if found["beats"] != beats_taken:
            raise MismatchError(f"{beats_taken} beats were taken, counted were {found}")
        if found["waits"] > (self.case.distance - 1) * found["beats"]:
            raise MismatchError(f"more than {self.case.distance - 1} waits per beat: {found}")
