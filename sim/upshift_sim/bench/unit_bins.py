"""What the update unit's benches must have seen, and how to recognize it.

Bins are decided by what crossed the ports: the command and the gradients as the monitors saw
them, the clocks in which they moved, and the report that the unit gave, after it was found right.
What the stimulus meant to do counts for nothing. A bin is required when the configuration can
express it at all; whether the arithmetic can is asked of the integer model.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from upshift import layout
from upshift.config import UnitConfig
from upshift.formats import Float, Raw
from upshift.layout import Operation
from upshift.reference import step
from upshift.report import Refusal
from upshift.vectors import ends, tie
from upshift_sim.bench.coverage import Coverage
from upshift_sim.bench.scoreboard import Burst


class Bin(enum.StrEnum):
    """The bins."""

    TIE_POSITIVE = "tie, positive gradient"
    TIE_NEGATIVE = "tie, negative gradient"
    SATURATED_HIGH = "weight saturated at its largest"
    SATURATED_LOW = "weight saturated at its smallest"
    ALL_ZERO = "burst of zeros"
    MOST_NEGATIVE = "most negative gradient"
    MOST_POSITIVE = "largest gradient"
    SINGLE = "burst of one element"
    UNALIGNED_BASE = "base within a row"
    UNALIGNED_COUNT = "count that is no multiple of the lanes"
    SAME_ADDRESS = "back to back on the same address"
    SHARED_BEAT = "back to back in one row, no lane shared, without a wait"
    RESOLUTION_CHANGED = "back to back at another resolution"
    RATE_CHANGED = "back to back at another rate"
    FLOOR_RAISED = "floor raised"
    REFUSED_FLOOR = "refused: resolution below the floor"
    REFUSED_FRACTION = "refused: resolution above the fraction"
    REFUSED_RATE = "refused: rate above the largest"
    REFUSED_COUNT = "refused: no elements"
    REFUSED_RANGE = "refused: outside the memory"
    RESET_IN_BURST = "reset between the beats of a burst"
    RESET_IN_FLIGHT = "reset with writes in flight"
    HOST_READ_WAITED = "host read waited for a burst"
    HOST_WRITE_WAITED = "host write waited for a burst"
    REPORTS_HELD = "unit stopped for want of report slots"
    UPDATES_HELD = "unit stopped for want of room for updates"
    ROWS_HELD = "unit stopped for want of room for rows"
    GRADIENTS_STARVED = "row waited for its gradients"
    WEIGHTS_STARVED = "gradients waited for their row"
    ROWS_REFUSED = "rows of a refused burst came back"
    RESET_WITH_ROWS = "reset with rows under way"
    READ_IN_BURST = "register read while beats were under way"
    READ_BETWEEN = "register read between bursts, nothing under way"
    CLEARED_IN_BURST = "error cleared while beats were under way"
    CLEARED_BETWEEN = "error cleared between bursts, nothing under way"
    COUNTED_CLOCKS = "clocks read while they were counted"
    COUNTED_BEATS = "beats read while they were counted"
    COUNTED_STALLS = "stalls read while they were counted"
    COUNTED_WAITS = "waits read while they were counted"
    NEGATIVE_ZERO = "negative zero"
    SUBNORMAL_POSITIVE = "positive subnormal gradient"
    SUBNORMAL_NEGATIVE = "negative subnormal gradient"
    NEEDED_SUBNORMAL = "burst of zeros and subnormals, q_min from them"
    NEEDED_POWER = "q_min from a negative power of two"
    INFINITY_POSITIVE = "positive infinity"
    INFINITY_NEGATIVE = "negative infinity"
    NAN_QUIET = "quiet NaN"
    NAN_SIGNALLING = "signalling NaN"
    NONFINITE_AMONG_OTHERS = "step in a burst with a gradient that is not finite"
    NONFINITE_ONLY = "burst without a finite gradient"


FLOATING = {
    Bin.NEGATIVE_ZERO,
    Bin.SUBNORMAL_POSITIVE,
    Bin.SUBNORMAL_NEGATIVE,
    Bin.NEEDED_SUBNORMAL,
    Bin.NEEDED_POWER,
    Bin.INFINITY_POSITIVE,
    Bin.INFINITY_NEGATIVE,
    Bin.NAN_QUIET,
    Bin.NAN_SIGNALLING,
    Bin.NONFINITE_AMONG_OTHERS,
    Bin.NONFINITE_ONLY,
}
"""What only floating-point gradients can be."""
COUNTED = {
    "clocks": Bin.COUNTED_CLOCKS,
    "beats": Bin.COUNTED_BEATS,
    "stalls": Bin.COUNTED_STALLS,
    "waits": Bin.COUNTED_WAITS,
}
"""The counters, and the bin of each."""
RESIDENT = {
    Bin.HOST_READ_WAITED,
    Bin.HOST_WRITE_WAITED,
    Bin.SAME_ADDRESS,
    Bin.SHARED_BEAT,
    Bin.COUNTED_WAITS,
}
"""What only units that hold their weights meet: others are never given a row under way."""
STREAMED = {
    Bin.ROWS_HELD,
    Bin.GRADIENTS_STARVED,
    Bin.WEIGHTS_STARVED,
    Bin.ROWS_REFUSED,
    Bin.RESET_WITH_ROWS,
}


_REFUSED = {
    Refusal.FLOOR: Bin.REFUSED_FLOOR,
    Refusal.FRACTION: Bin.REFUSED_FRACTION,
    Refusal.RATE: Bin.REFUSED_RATE,
    Refusal.COUNT: Bin.REFUSED_COUNT,
    Refusal.RANGE: Bin.REFUSED_RANGE,
}


_PREPARED = 8
"""Clocks after its command was taken in which a burst is ready to start, if nothing else was."""


def hazards(distance: int) -> list[str]:
    """Return a bin for each age at which a beat can meet one in flight, the youngest first.

    The age is that of the beat in flight when the other could have started but for it, in clocks.

    Parameters
    ----------
    distance : int
        Clocks from a beat to the first that may touch its lanes again.
    """
    return [f"hazard of age {age}, wait of {distance - age}" for age in range(1, distance)]


def required(config: UnitConfig, distance: int) -> set[str]:
    """Return the bins that a bench of `config` must fill.

    Parameters
    ----------
    config : UnitConfig
    distance : int
        As for `hazards`.
    """
    bins: set[str] = {*Bin}
    weight = config.weight
    low, high = ends(config)

    def drop(these: set[Bin], *, unless: bool) -> None:
        if not unless:
            bins.difference_update(these)

    def saturates(old: int, word: int) -> bool:
        finest = config.max_resolution
        return step([old], [word], config=config, rate=0, resolution=finest)[1].saturated == 1

    drop({Bin.TIE_POSITIVE}, unless=tie(config, negative=False) is not None)
    drop({Bin.TIE_NEGATIVE}, unless=tie(config, negative=True) is not None)
    drop({Bin.SATURATED_HIGH}, unless=saturates(weight.max, low))
    drop({Bin.SATURATED_LOW}, unless=saturates(weight.min, high))
    drop({Bin.UNALIGNED_BASE, Bin.UNALIGNED_COUNT, Bin.SHARED_BEAT}, unless=config.lanes > 1)
    drop(
        {Bin.RESOLUTION_CHANGED, Bin.FLOOR_RAISED, Bin.REFUSED_FLOOR},
        unless=config.max_resolution > 0,
    )
    drop({Bin.RATE_CHANGED}, unless=config.max_rate > 0)
    rate = next(field for field in layout.command(config) if field.name == "rate")
    drop({Bin.REFUSED_RATE}, unless=config.max_rate + 1 < 1 << rate.width)
    drop({Bin.RESET_IN_BURST}, unless=config.rows > 1)
    drop(FLOATING, unless=isinstance(config.gradient, Float))
    drop({Bin.NONFINITE_AMONG_OTHERS}, unless=config.depth > 1)
    drop(RESIDENT, unless=config.memory == "resident")
    drop(STREAMED, unless=config.memory == "streamed")
    # No row is under way twice, so that few rows never fill the unit: it may stop as late as with
    # 32 in its queue, five on their way to it, and two that have left it.
    drop({Bin.ROWS_HELD}, unless=config.rows >= 40)
    drop({Bin.UPDATES_HELD}, unless=config.updates)
    return bins.union(hazards(distance)) if config.memory == "resident" else bins


class UnitCoverage(Coverage):
    """Recognizes the bins in bursts whose reports were found right.

    Parameters
    ----------
    config : UnitConfig
    distance : int
        Clocks from a beat to the first that may have what it wrote.
    """

    def __init__(self, config: UnitConfig, distance: int):
        super().__init__(required(config, distance))
        self._hazards = hazards(distance)
        self._config = config
        self._distance = distance
        self._previous: Burst | None = None
        self._touched: dict[int, int] = {}

    def forget(self) -> None:
        """Forget the bursts before, because a reset came between."""
        self._previous = None
        self._touched.clear()

    def observe(self, burst: Burst, report: Mapping[str, int]) -> None:
        """Look at a burst and the unit's report of it."""
        for cause, name in _REFUSED.items():
            if report["refusal"] & cause:
                self.hit(name)
        if report["refusal"]:
            return
        if burst.command.operation == Operation.RAISE:
            self.hit(Bin.FLOOR_RAISED)
            return
        self._observe_words(burst, report)
        self._observe_shape(burst)
        if self._previous is not None:
            self._observe_pair(self._previous, burst)
        if self._config.memory == "resident":
            self._observe_hazards(burst)
        self._previous = burst

    def _observe_words(self, burst: Burst, report: Mapping[str, int]) -> None:
        command, words = burst.command, burst.gradients
        values = self._config.gradient.decode(words)
        finite = np.isfinite(values)
        # Exact: float64 has room for every gradient times every power of two.
        scaled = np.where(finite, values, 0.0) * 2.0 ** (command.resolution - command.rate)
        ties = scaled - np.floor(scaled) == 0.5
        if np.any(ties & (values > 0)):
            self.hit(Bin.TIE_POSITIVE)
        if np.any(ties & (values < 0)):
            self.hit(Bin.TIE_NEGATIVE)
        if report["saturated"]:
            # Negative gradients raise weights, positive ones lower them.
            if self._saturated(burst, values < 0):
                self.hit(Bin.SATURATED_HIGH)
            if self._saturated(burst, values > 0):
                self.hit(Bin.SATURATED_LOW)
        if not values.any() and not report["needed_valid"]:
            self.hit(Bin.ALL_ZERO)
        low, high = ends(self._config)
        if np.any(words == low):
            self.hit(Bin.MOST_NEGATIVE)
        if np.any(words == high):
            self.hit(Bin.MOST_POSITIVE)
        if isinstance(self._config.gradient, Float):
            self._observe_floats(self._config.gradient, words, report)

    def _observe_floats(self, fmt: Float, words: Raw, report: Mapping[str, int]) -> None:
        values = fmt.decode(words)
        magnitudes = words & ~fmt.sign
        subnormal = (magnitudes > 0) & (magnitudes < fmt.normal)
        quiet = words & (fmt.normal >> 1) > 0
        finite = values[np.isfinite(values)]
        largest = np.abs(finite).max(initial=0.0)
        seen = {
            Bin.NEGATIVE_ZERO: words == fmt.sign,
            Bin.SUBNORMAL_POSITIVE: subnormal & (values > 0),
            Bin.SUBNORMAL_NEGATIVE: subnormal & (values < 0),
            Bin.NEEDED_SUBNORMAL: 0 < largest < fmt.decode(fmt.normal),
            Bin.NEEDED_POWER: (finite == -largest)
            & (np.frexp(finite)[0] == -0.5)
            & (largest not in finite),
            Bin.INFINITY_POSITIVE: values == np.inf,
            Bin.INFINITY_NEGATIVE: values == -np.inf,
            Bin.NAN_QUIET: np.isnan(values) & quiet,
            Bin.NAN_SIGNALLING: np.isnan(values) & ~quiet,
            Bin.NONFINITE_AMONG_OTHERS: report["nonfinite"] and report["nonzero"],
            Bin.NONFINITE_ONLY: not finite.size,
        }
        for name, where in seen.items():
            if np.any(where):
                self.hit(name)

    def _saturated(self, burst: Burst, where: NDArray[np.bool_]) -> bool:
        _, report = step(
            burst.before[where],
            burst.gradients[where],
            config=self._config,
            rate=burst.command.rate,
            resolution=burst.command.resolution,
        )
        return report.saturated > 0

    def _observe_shape(self, burst: Burst) -> None:
        lanes = self._config.lanes
        if burst.command.count == 1:
            self.hit(Bin.SINGLE)
        if burst.command.base % lanes:
            self.hit(Bin.UNALIGNED_BASE)
        if burst.command.count % lanes:
            self.hit(Bin.UNALIGNED_COUNT)

    def _observe_pair(self, before: Burst, after: Burst) -> None:
        clocks = after.clocks[0] - before.clocks[-1]
        if clocks > self._distance:
            return
        lanes = self._config.lanes
        first, second = before.command, after.command
        if set(before.addresses) & set(after.addresses):
            self.hit(Bin.SAME_ADDRESS)
        elif (
            before.addresses[-1] // lanes == after.addresses[0] // lanes
            and clocks < self._distance
            and not after.waited[0]
        ):
            self.hit(Bin.SHARED_BEAT)
        if first.resolution != second.resolution:
            self.hit(Bin.RESOLUTION_CHANGED)
        if first.rate != second.rate:
            self.hit(Bin.RATE_CHANGED)

    def _observe_hazards(self, burst: Burst) -> None:
        """Recognize beats that waited for a lane in flight, and for nothing else."""
        for beat, (clock, waited) in enumerate(zip(burst.clocks, burst.waited, strict=True)):
            touched = burst.touched(beat)
            before = max((self._touched[a] for a in touched if a in self._touched), default=None)
            started = clock - waited  # but for what was in flight
            prepared = started - burst.taken >= _PREPARED
            if waited and prepared and before is not None and clock - before == self._distance:
                self.hit(self._hazards[started - before - 1])
            self._touched.update(dict.fromkeys(touched, clock))
