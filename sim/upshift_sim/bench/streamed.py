"""The bench around a unit of streamed weights, and what it compares.

The weights are in a memory of the bench. Each row that goes in is noted together with the
gradients of its beat, and each row that comes out is compared with what must have become of the
oldest one: none may be lost, doubled or out of order, and lanes that a burst does not touch,
those of refused bursts included, must come back as they went.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence, Sized
from typing import Any

import numpy as np

from upshift import layout
from upshift.config import UnitConfig
from upshift.formats import Raw
from upshift.vectors import Vector
from upshift_sim.bench.case import UnitCase
from upshift_sim.bench.rows import updated
from upshift_sim.bench.scoreboard import MismatchError, Observer, Scoreboard
from upshift_sim.bench.streams import Monitor, Pauses, Sink
from upshift_sim.bench.testbench import UnitBench
from upshift_sim.bench.unit_bins import Bin
from upshift_sim.outside import OutsideMemory


class RowSource:
    """Offers rows of the memory outside to a stream that the unit reads.

    Parameters
    ----------
    monitor : Monitor
    pauses : Pauses
        When not to offer the next row.
    filler : callable
        Returns what the payload shows while nothing is offered.
    outside : OutsideMemory

    Attributes
    ----------
    held : bool
        Set to offer no further row.
    """

    def __init__(
        self,
        monitor: Monitor,
        pauses: Pauses,
        filler: Callable[[], int],
        outside: OutsideMemory,
    ):
        self.held = False
        self._filler = filler
        self._monitor = monitor
        self._pauses = pauses
        self._outside = outside
        self._offering = False
        monitor.valid_signal.value = 0
        monitor.payload_signal.value = filler()

    @property
    def queue(self) -> Sized:
        """Rows that are still to go out."""
        return self._outside.coming

    def clear(self) -> None:
        """Take back everything; only a reset allows that."""
        self._outside.clear()
        self._offering = False

    def drive(self) -> None:
        """Drive the stream for the next clock."""
        if self._monitor.transferred:
            self._outside.sent()
            self._offering = False
        if self._offering:
            return
        row = self._outside.next_row()
        self._offering = row is not None and not next(self._pauses) and not self.held
        self._monitor.payload_signal.value = row if self._offering else self._filler()
        self._monitor.valid_signal.value = int(self._offering)


class StreamedScoreboard(Scoreboard):
    """The model of a unit of streamed weights, and what it expects.

    Parameters
    ----------
    config, latency, observer
        As for `Scoreboard`; the latency is from a beat to the clock that offers its row.
    outside : OutsideMemory
        Where the weights are.

    Attributes
    ----------
    under_way : int
        Rows that went in and have not come out.
    longest : int
        Most clocks that any row took.
    refused_rows : int
        Rows of refused bursts that came out.
    """

    def __init__(
        self, config: UnitConfig, latency: int, observer: Observer, outside: OutsideMemory
    ):
        super().__init__(config, latency, observer)
        self.longest = 0
        self.refused_rows = 0
        self._outside = outside
        self._entered: tuple[int, Raw] | None = None
        self._leaving: deque[tuple[int, bool, list[int]]] = deque()

    @property
    def under_way(self) -> int:
        """Rows that went in and have not come out."""
        return len(self._leaving)

    @property
    def drained(self) -> bool:
        """Nothing is expected any more."""
        return super().drained and not self._leaving

    def on_row(self, payload: int, clock: int) -> None:
        """Take note of a row that went in; its gradients must be taken in the same clock."""
        if self._entered is not None:
            raise MismatchError("a row was taken without gradients")
        row = np.array(layout.unpack_lanes(self.config, payload), np.int64)
        self._entered = clock, row

    def on_gradients(self, payload: int, clock: int, waited: int = 0) -> None:
        """Take note of a gradient beat, and of what must become of its row."""
        if self._entered is None or self._entered[0] != clock:
            raise MismatchError("gradients were taken without a row")
        row, self._entered = self._entered[1], None
        burst = self._filling[0] if self._filling else None
        refused = burst is not None and bool(self.unit.refusal(burst.command))
        super().on_gradients(payload, clock, waited)
        assert burst is not None
        new = row if refused else updated(self.config, burst, row)[1]
        self._leaving.append((clock, refused, new.tolist()))

    def on_weights(self, payload: int, clock: int) -> None:
        """Compare a row that came out."""
        if not self._leaving:
            raise MismatchError("a row of weights came that did not go in")
        taken, refused, expected = self._leaving.popleft()
        row = layout.unpack_lanes(self.config, payload)
        if row != expected:
            raise MismatchError(f"a row of weights differs: it is {row}, expected {expected}")
        if clock - taken < self._latency:
            raise MismatchError(f"a row took {clock - taken} clocks, {self._latency} are due")
        self._outside.returned(payload)
        self.longest = max(self.longest, clock - taken)
        self.refused_rows += refused
        self.rows += 1
        self.weights += len(row)

    def on_reset(self, clock: int) -> None:
        """Take note that the unit is in reset: rows under way are lost, and stay as they were."""
        super().on_reset(clock)
        self._uncertain.clear()
        self._entered = None
        self._leaving.clear()
        self.touched.clear()
        self.unit.weights[:] = self._outside.weights

    def compare(self, rows: Iterable[int]) -> None:
        """Compare rows of the memory outside with the model's."""
        for row in rows:
            here = slice(row * self.config.lanes, (row + 1) * self.config.lanes)
            found, expected = self._outside.weights[here], self.unit.weights[here]
            if not np.array_equal(found, expected):
                raise MismatchError(
                    f"row {row} of the memory outside differs: it is {found.tolist()}, "
                    f"expected {expected.tolist()}"
                )
            self.seen[here] = found
            self.weights += found.size
            self.touched.discard(row)


class StreamedBench(UnitBench):
    """One unit of streamed weights with everything that is connected to it.

    Parameters and attributes are those of `UnitBench`, but for `access` and `updates`.

    Attributes
    ----------
    rows : RowSource
    outside : OutsideMemory
    """

    scoreboard: StreamedScoreboard

    def _scoreboard(self) -> StreamedScoreboard:
        self.outside = OutsideMemory(self.config)
        return StreamedScoreboard(
            self.config, self.case.latency, self.coverage.observe, self.outside
        )

    def _connect_weights(self, dut: Any) -> None:
        self._rows = Monitor(dut, "i_weights", self.scoreboard.on_row)
        self._weights = Monitor(dut, "o_weights", self.scoreboard.on_weights)
        bits = layout.width(layout.weights(self.config))
        pauses = self._pauses(self.case.idle)
        self.rows = RowSource(self._rows, pauses, lambda: self.rng.getrandbits(bits), self.outside)
        self.weights = Sink(self._weights, self._pauses(self.case.stall))
        self._monitors = [self._rows, *self._monitors, self._weights]
        self._drivers += [self.rows, self.weights]
        self._sources.append(self.rows)

    def _look_ahead(self) -> None:
        """Nothing matters before the transfers of a clock."""

    def _watch(self) -> None:
        super()._watch()
        self._watch_stop(Bin.ROWS_HELD, self._rows, self._weights)
        if self.scoreboard.wanting:
            for name, there, missing in (
                (Bin.WEIGHTS_STARVED, self._gradients, self._rows),
                (Bin.GRADIENTS_STARVED, self._rows, self._gradients),
            ):
                if there.valid and not missing.valid:
                    self.coverage.hit(name)
        if self.scoreboard.refused_rows:
            self.coverage.hit(Bin.ROWS_REFUSED)

    # -- commands and weights -------------------------------------------------------------------

    def send(self, vectors: Iterable[Vector]) -> None:
        """Queue commands, their gradients and their rows."""
        vectors = list(vectors)
        super().send(vectors)
        self.outside.add(vector.command for vector in vectors)

    async def reset(self, clocks: int = 2) -> None:
        """Hold the unit in reset, and take back everything that was queued."""
        if self.scoreboard.under_way:
            self.coverage.hit(Bin.RESET_WITH_ROWS)
        await super().reset(clocks)

    def host_write(self, row: int, weights: Sequence[int], mask: int) -> None:
        """Write lanes of a row of the memory outside, while none is under way."""
        for lane, word in enumerate(weights):
            if mask >> lane & 1:
                address = row * self.config.lanes + lane
                self.outside.weights[address] = self.scoreboard.unit.weights[address] = word

    async def read_rows(self, rows: Iterable[int]) -> None:
        """Compare rows of the memory outside."""
        self.scoreboard.compare(rows)


def bench_of(dut: Any, case: UnitCase, edge: Callable[[], Awaitable[object]]) -> UnitBench:
    """Return the bench of the unit that a case describes; takes what `UnitBench` does."""
    kinds = {"resident": UnitBench, "streamed": StreamedBench}
    return kinds[case.unit.memory](dut, case, edge)
