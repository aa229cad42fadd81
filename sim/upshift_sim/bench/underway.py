"""Scenarios about what happens while beats are under way: hazards, and accesses to registers.

Some of it needs things to fall into the same clock. Where sources and sinks pause at random, it is
tried until it did, a limited number of times; the coverage says whether it ever has.
"""

from __future__ import annotations

from collections.abc import Sequence

from upshift.report import Refusal
from upshift.vectors import Vector, update
from upshift_sim.bench.scoreboard import require
from upshift_sim.bench.stimuli import gradients
from upshift_sim.bench.testbench import UnitBench
from upshift_sim.bench.unit_bins import COUNTED, Bin, hazards

TRIES = 20
_SETTLED = 12
"""Clocks after which commands that were taken have their beats ready, and counters show all."""


async def hazards_of_every_age(bench: UnitBench) -> None:
    """Let beats meet one in flight at every age, with other beats between and without."""
    before = (await bench.counters())["waits"]
    for age, name in enumerate(hazards(bench.case.distance), 1):
        for between in sorted({0, age - 1 if bench.config.rows >= age else 0}):
            seen = bench.coverage.counts[name]
            for _ in range(TRIES):
                await _meet(bench, age, between)
                if bench.coverage.counts[name] > seen:
                    break
    waits = (await bench.counters())["waits"] - before
    seen = sum(sum(burst.waited) for burst in bench.scoreboard.history)
    # Behind a gap between commands, a beat is not in its place yet and waits for that as well.
    equal = waits <= seen if bench.case.idle else waits == seen
    require(equal, f"{waits} waits were counted, {seen} seen")


async def _meet(bench: UnitBench, age: int, between: int) -> None:
    """Let a beat come `age` clocks after one on the same lane, with some beats between."""
    lanes, finest = bench.config.lanes, bench.config.max_resolution
    one = update(0, gradients(bench, 1), rate=0, resolution=finest)
    others = update(lanes, gradients(bench, between * lanes), rate=0, resolution=finest)
    bench.send([one, others, one] if between else [one, one])
    *first, last = _keep_gradients(bench)
    # Behind gaps, commands may have to wait for the first beats: then this time does not count.
    await _pass(bench, 3 * _SETTLED)
    bench.gradients.queue.extend(first)
    if between < age - 1:
        await bench.until(lambda: not bench.gradients.queue, "for the beats before")
        await _pass(bench, age - 2)  # and two until the last beat can be taken
    bench.gradients.queue.append(last)
    await bench.drain()


async def registers_in_bursts(bench: UnitBench) -> None:
    """Read counters while they count, and clear errors in bursts and between them."""
    config = bench.config
    finest, lanes = config.max_resolution, config.lanes
    refused = update(0, gradients(bench, 1), rate=0, resolution=finest + 1)
    beats = min(config.rows, 32)
    long = [
        update(0, gradients(bench, beats * lanes), rate=0, resolution=finest)
        for _ in range(-(-64 // beats))
    ]
    same = [update(0, gradients(bench, 1), rate=0, resolution=finest) for _ in range(16)]
    meanwhile = {Bin.READ_IN_BURST, Bin.CLEARED_IN_BURST, *COUNTED.values()}
    wanted = bench.coverage.required & meanwhile
    for _ in range(TRIES):
        await bench.play([refused])
        await bench.clear_error(Refusal.FRACTION)
        await bench.play([refused])
        await _clear_and_read(bench, long)
        await _read_stalls(bench, long[0])
        bench.send(same)
        await _read_counters(bench, ("waits",))
        await bench.drain()
        if all(bench.coverage.counts[name] for name in wanted):
            return


async def _clear_and_read(bench: UnitBench, vectors: Sequence[Vector]) -> None:
    start = bench.beats_taken
    bench.send(vectors)
    await bench.until(lambda: bench.beats_taken > start, "for a beat")
    await bench.clear_error(Refusal.FRACTION)
    await _read_counters(bench, ("clocks", "beats"))
    await bench.drain()


async def _read_stalls(bench: UnitBench, vector: Vector) -> None:
    bench.send([vector])
    beats = _keep_gradients(bench)
    await bench.until(lambda: not bench.commands.queue, "for the command")
    for _ in range(2):
        await _pass(bench, _SETTLED)
        await bench.read_register("stalls")
    bench.gradients.queue.extend(beats)
    await bench.drain()


async def _read_counters(bench: UnitBench, names: Sequence[str]) -> None:
    """Read counters for as long as beats are wanted; beats taken long before must be counted."""
    await bench.until(lambda: bench.scoreboard.wanting, "for a command")
    while bench.scoreboard.wanting:
        before = bench.beats_taken
        await _pass(bench, _SETTLED)
        for name in names:
            value = await bench.read_register(name)
            if name == "beats":
                taken = bench.beats_taken
                require(before <= value <= taken, f"beats are {value}: {before} to {taken} taken")


def _keep_gradients(bench: UnitBench) -> list[int]:
    """Take back the gradients that were queued."""
    beats = [*bench.gradients.queue]
    bench.gradients.queue.clear()
    return beats


async def _pass(bench: UnitBench, clocks: int) -> None:
    for _ in range(clocks):
        await bench.cycle()
