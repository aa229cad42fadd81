"""When each beat must be taken, by the throughput rule alone.

One beat per clock, inside bursts and between them, except that a beat starts at least `distance`
clocks after an earlier one that touched a lane of the same row. A command without beats takes
the clock of one beat. Streamed weights touch all lanes of their row, in refused bursts too, since
the row has to come back before it can go out again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from upshift.config import UnitConfig
from upshift_sim.bench.scoreboard import Burst, MismatchError


def expected_clocks(
    config: UnitConfig, bursts: Sequence[Burst], distance: int, start: int
) -> tuple[list[list[int]], int]:
    """Return the clock of every beat of bursts that were all offered in time, and the waits.

    Parameters
    ----------
    config : UnitConfig
    bursts : sequence of Burst
        The first one has beats.
    distance : int
        Clocks from a beat to the first that may have the row that it wrote.
    start : int
        Clock of the first beat.
    """
    written: dict[int, int] = {}
    clock = start - 1
    waits = 0
    clocks: list[list[int]] = []
    for burst in bursts:
        clocks.append([])
        if not burst.beats:
            clock += 1
            continue
        for touched in _touched(config, burst):
            free = max((written.get(address, start) for address in touched), default=start)
            waits += max(0, free - clock - 1)
            clock = max(clock + 1, free)
            clocks[-1].append(clock)
            written.update((address, clock + distance) for address in touched)
    return clocks, waits


def _touched(config: UnitConfig, burst: Burst) -> Iterator[list[int]]:
    """Yield the addresses that each beat of a burst keeps from others."""
    first = burst.command.base // config.lanes
    for beat in range(burst.beats):
        if config.memory == "streamed":
            start = (first + beat) % config.rows * config.lanes
            yield [*range(start, start + config.lanes)]
        else:
            yield [] if burst.report["refusal"] else [*burst.touched(beat)]


def check_clocks(config: UnitConfig, bursts: Sequence[Burst], distance: int) -> int:
    """Compare the clocks of all beats with the rule, and return how many clocks were waits."""
    timed = list(itertools.dropwhile(lambda burst: not burst.beats, bursts))
    if not timed:
        raise MismatchError("no beat was taken, so there is no throughput to check")
    expected, waits = expected_clocks(config, timed, distance, timed[0].clocks[0])
    for burst, want in zip(timed, expected, strict=True):
        if burst.clocks != want:
            raise MismatchError(
                f"beats of {burst.command} were taken in clocks {burst.clocks}, "
                f"by the throughput rule {want}"
            )
    return waits
