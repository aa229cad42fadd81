"""The update unit in Amaranth's own simulator: slow, and closest to the source.

`simulate` loads weights, sends the commands and gradient beats of test vectors, and reads
everything back. `UnitDriver` does each of these steps alone, for testbenches with other plans.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth.hdl import ClockDomain, Module
from amaranth.sim import Simulator

from upshift import layout, registers, vectors
from upshift.config import UnitConfig
from upshift.formats import Raw
from upshift.vectors import Vector
from upshift_hw.streamed import StreamedUnit
from upshift_hw.unit import UpdateUnit
from upshift_hw.units import unit_of
from upshift_sim.outside import Mirror, OutsideMemory

_COUNTERS = ("clocks", "beats", "stalls", "waits")
_PATIENCE = 1000
"""Clocks that a served unit may go without progress: far more than its pipeline is long."""


@dataclass(frozen=True)
class PysimResult:
    """What came out of a simulation.

    Attributes
    ----------
    weights : ndarray of int64, shape (depth,)
        Raw weights at the end.
    mirrored : ndarray of int64, shape (depth,), or None
        The weights as a reader of the stream of updates knows them, where there is one.
    reports : list of dict
        Report fields, one per command, in order.
    clocks : int
        Clocks from the first command offered to the last report taken.
    counters : dict
        The registers ``clocks``, ``beats``, ``stalls`` and ``waits``.
    """

    weights: Raw
    mirrored: Raw | None
    reports: list[dict[str, int]]
    clocks: int
    counters: dict[str, int]


class UnitDriver:
    """Plays the surroundings of one unit inside a testbench, clock by clock.

    Parameters
    ----------
    unit : UpdateUnit or StreamedUnit
    context : SimulatorContext
        What Amaranth hands to a testbench.
    reset : Signal
        Reset of the unit's clock domain.
    seed : int
        Decides which clocks `run` leaves idle or stalls.

    Attributes
    ----------
    taken : list of int
        Clock of each gradient beat taken by the last `run`, 0 when its first command was offered.
    clocks : int
        Clocks the last `run` took.
    outside : OutsideMemory
        Where streamed weights are.
    mirror : Mirror
        What the stream of updates told.
    """

    def __init__(self, unit: UpdateUnit | StreamedUnit, context: Any, reset: Any, *, seed: int = 0):
        self.unit = unit
        self.config: UnitConfig = unit.config
        self.context = context
        self.reset = reset
        self.taken: list[int] = []
        self.clocks = 0
        self.outside = OutsideMemory(self.config)
        self.mirror = Mirror(self.config)
        self._random = np.random.default_rng(seed)
        self._report_fields = layout.report(self.config)

    # -- single steps ---------------------------------------------------------------------------

    async def tick(self, count: int = 1) -> None:
        """Let `count` clocks pass."""
        for _ in range(count):
            await self.context.tick()

    def offer(self, stream: Any, payload: int | None) -> None:
        """Offer a payload on an input stream, or nothing."""
        if payload is not None:
            self.context.set(stream.payload.as_value(), payload)
        self.context.set(stream.valid, payload is not None)

    async def write_row(self, row: int, words: Sequence[int], mask: int | None = None) -> None:
        """Write the lanes in `mask` (all if left out) of one row of weights."""
        fields = {
            "row": row,
            "write": 1,
            "mask": (1 << self.config.lanes) - 1 if mask is None else mask,
            "weights": layout.pack_lanes(words, self.config.weight.width),
        }
        await self._access(layout.pack(layout.access(self.config), fields))

    async def read_row(self, row: int) -> list[int]:
        """Return the raw weights of one row."""
        unit, context = self.unit, self.context
        context.set(unit.o_weights.ready, 1)
        await self._access(layout.pack(layout.access(self.config), {"row": row}))
        for _ in range(_PATIENCE):
            if context.get(unit.o_weights.valid):
                payload = context.get(unit.o_weights.payload.as_value())
                await context.tick()
                context.set(unit.o_weights.ready, 0)
                return layout.unpack_lanes(self.config, payload)
            await context.tick()
        raise RuntimeError(f"no answer to the read of row {row}")

    async def read_register(self, name: str) -> int:
        """Return the value of a register of `upshift.registers`."""
        bus = self.unit.bus
        self.context.set(bus.address, registers.BY_NAME[name].address)
        await self.context.tick()
        return int(self.context.get(bus.read_data))

    async def write_register(self, name: str, value: int) -> None:
        """Write a register of `upshift.registers`."""
        bus = self.unit.bus
        self.context.set(bus.address, registers.BY_NAME[name].address)
        self.context.set(bus.write_data, value)
        self.context.set(bus.write_enable, 1)
        await self.context.tick()
        self.context.set(bus.write_enable, 0)

    def beat(self, words: Sequence[int] | Raw) -> int:
        """Return the payload of one gradient beat."""
        return layout.pack_lanes([int(word) for word in words], self.config.gradient.width)

    def command(self, vector: Vector) -> int:
        """Return the payload of a vector's command."""
        return layout.pack(layout.command(self.config), vector.command.fields())

    def report(self) -> dict[str, int]:
        """Return the fields of the report that is offered now."""
        word = self.context.get(self.unit.o_report.payload.as_value())
        return layout.unpack(self._report_fields, word)

    async def _access(self, payload: int) -> None:
        self.offer(self.unit.i_access, payload)
        for _ in range(_PATIENCE):
            accepted = self.context.get(self.unit.i_access.ready)
            await self.context.tick()
            if accepted:
                self.offer(self.unit.i_access, None)
                return
        raise RuntimeError("the host access was not served")

    # -- whole transfers ------------------------------------------------------------------------

    async def write(self, weights: Raw) -> None:
        """Write all weights."""
        self.outside.weights[:] = self.mirror.weights[:] = weights
        if self.config.memory == "streamed":
            return
        for row, words in enumerate(weights.reshape(-1, self.config.lanes).tolist()):
            await self.write_row(row, words)

    async def read(self) -> Raw:
        """Return all raw weights."""
        if self.config.memory == "streamed":
            return self.outside.weights.copy()
        rows = [await self.read_row(row) for row in range(self.config.rows)]
        return np.array(rows, np.int64).reshape(-1)

    async def counters(self) -> dict[str, int]:
        """Return the counter registers."""
        return {name: await self.read_register(name) for name in _COUNTERS}

    async def run(
        self, commands: Sequence[Vector], *, idle: float = 0.0, stall: float = 0.0
    ) -> list[dict[str, int]]:
        """Send commands with their gradients, and return the fields of their reports.

        Parameters
        ----------
        commands : sequence of Vector
        idle : float
            Share of the clocks in which a source with something to send does not offer it.
        stall : float
            Share of the clocks in which reports, and rows that leave, are not taken.

        Raises
        ------
        RuntimeError
            If the unit makes no progress.
        """
        patience = _PATIENCE / (1 - max(idle, stall)) ** 2
        sources = self._sources(commands)
        reports: list[dict[str, int]] = []
        sinks = self._sinks(lambda word: reports.append(layout.unpack(self._report_fields, word)))
        self.taken = []
        self.clocks = quiet = 0
        while len(reports) < len(commands) or any(sink.offered for sink in sinks):
            for source in sources:
                source.offer(wanted=not self._happens(idle))
            moved = [sink.look(wanted=not self._happens(stall)) for sink in sinks]
            beats = sources[1].sent
            moved += [source.look() for source in sources]
            if sources[1].sent != beats:
                self.taken.append(self.clocks)
            await self.context.tick()
            self.clocks += 1
            quiet = 0 if any(moved) else quiet + 1
            if quiet > patience:
                raise RuntimeError(f"no report {len(reports)} after {quiet} quiet clocks")
        for source in sources:
            source.finish()
        for sink in sinks:
            sink.finish()
        return reports

    def _sources(self, some: Sequence[Vector]) -> list[_Source]:
        gradients = [self.beat(beat) for v in some for beat in vectors.beats(self.config, v)]
        sources = [
            _Source(self, self.unit.i_command, [self.command(vector) for vector in some]),
            _Source(self, self.unit.i_gradients, gradients),
        ]
        if isinstance(self.unit, StreamedUnit):
            self.outside.add(vector.command for vector in some)
            sources.append(_Rows(self, self.unit.i_weights, gradients))
        return sources

    def _sinks(self, on_report: Callable[[int], None]) -> list[_Sink]:
        sinks = [_Sink(self, self.unit.o_report, on_report)]
        if isinstance(self.unit, StreamedUnit):
            sinks.append(_Sink(self, self.unit.o_weights, self.outside.returned))
        elif self.config.updates:
            sinks.append(_Sink(self, self.unit.o_updates, self.mirror.apply))
        return sinks

    def _happens(self, share: float) -> bool:
        return share > 0 and bool(self._random.random() < share)


class _Source:
    """Offers payloads one after another; what was offered stays until it is taken."""

    def __init__(self, driver: UnitDriver, stream: Any, payloads: list[int]):
        self._driver = driver
        self._stream = stream
        self._payloads = payloads
        self._offered = -1
        self.sent = 0

    def next(self) -> int | None:
        """Return the payload that comes next, None while there is none."""
        return self._payloads[self.sent] if self.sent < len(self._payloads) else None

    def offer(self, *, wanted: bool) -> None:
        if self._offered != self.sent:
            payload = self.next() if wanted else None
            self._driver.offer(self._stream, payload)
            self._offered = -1 if payload is None else self.sent

    def look(self) -> bool:
        """Return whether the coming clock edge takes what is offered."""
        offered = self._offered == self.sent
        taken = bool(offered and self._driver.context.get(self._stream.ready))
        self.sent += taken
        return taken

    def finish(self) -> None:
        self._driver.offer(self._stream, None)
        if self.sent != len(self._payloads):
            raise RuntimeError(f"only {self.sent} of {len(self._payloads)} payloads were taken")


class _Rows(_Source):
    """Offers the rows of the memory outside, as many as there are gradient beats."""

    def next(self) -> int | None:
        return self._driver.outside.next_row()

    def look(self) -> bool:
        taken = super().look()
        if taken:
            self._driver.outside.sent()
        return taken


class _Sink:
    """Takes payloads and hands them on."""

    def __init__(self, driver: UnitDriver, stream: Any, listener: Callable[[int], None]):
        self._driver = driver
        self._stream = stream
        self._listener = listener

    @property
    def offered(self) -> bool:
        """A payload waits to be taken."""
        return bool(self._driver.context.get(self._stream.valid))

    def look(self, *, wanted: bool) -> bool:
        """Return whether the coming clock edge takes a payload."""
        self._driver.context.set(self._stream.ready, wanted)
        taken = wanted and self.offered
        if taken:
            self._listener(self._driver.context.get(self._stream.payload.as_value()))
        return taken

    def finish(self) -> None:
        self._driver.context.set(self._stream.ready, 0)


def drive(
    config: UnitConfig,
    testbench: Callable[[UnitDriver], Awaitable[None]],
    *,
    init: Raw | None = None,
    seed: int = 0,
) -> None:
    """Run a testbench on a fresh unit in Amaranth's simulator.

    Parameters
    ----------
    config : UnitConfig
    testbench : callable
        Async, takes a `UnitDriver`; the simulation ends when it returns.
    init : ndarray of int64, shape (depth,), optional
        Raw weights that a resident unit holds at first.
    seed : int
        See `UnitDriver`.
    """
    unit = unit_of(config, init)
    top = Module()
    top.domains.sync = domain = ClockDomain()
    top.submodules.unit = unit

    async def run(context: Any) -> None:
        await testbench(UnitDriver(unit, context, domain.rst, seed=seed))

    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(run)
    simulator.run()


def simulate(
    config: UnitConfig,
    weights: Raw,
    vectors: Sequence[Vector],
    *,
    idle: float = 0.0,
    stall: float = 0.0,
    seed: int = 0,
) -> PysimResult:
    """Run test vectors through the update unit in Amaranth's simulator.

    Parameters
    ----------
    config : UnitConfig
    weights : ndarray of int64, shape (depth,)
        Raw weights at the start.
    vectors : sequence of Vector
    idle, stall : float
        Share of the clocks in which a source pauses, and in which what leaves is not taken.
    seed : int
        Decides which clocks these are.
    """
    results: list[PysimResult] = []

    async def testbench(driver: UnitDriver) -> None:
        await driver.write(weights)
        reports = await driver.run(vectors, idle=idle, stall=stall)
        clocks = driver.clocks
        counters = await driver.counters()
        mirrored = driver.mirror.weights if config.updates else None
        results.append(PysimResult(await driver.read(), mirrored, reports, clocks, counters))

    drive(config, testbench, seed=seed)
    return results[0]
