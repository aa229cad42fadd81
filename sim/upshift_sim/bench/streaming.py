"""Scenarios about weights that stream: throughput, and what happens when a stream stands still."""

from __future__ import annotations

from upshift.vectors import Vector, update
from upshift_sim.bench.control import LONGEST, check_stalls, hold
from upshift_sim.bench.scoreboard import require
from upshift_sim.bench.stimuli import gradients, randoms
from upshift_sim.bench.streamed import StreamedBench
from upshift_sim.bench.testbench import COUNTERS, UnitBench
from upshift_sim.bench.timing import check_clocks


async def throughput(bench: UnitBench) -> None:
    """Play bursts that never stall, refused ones among them, and bursts on a row under way.

    The clocks themselves are compared when neither sources nor sinks pause.
    """
    assert isinstance(bench, StreamedBench)
    config = bench.config
    finest, lanes = config.max_resolution, config.lanes
    full_speed = not (bench.case.idle or bench.case.stall)

    async def play(vectors: list[Vector]) -> int:
        before = await bench.counters()
        bench.scoreboard.longest = 0
        bursts = await bench.play(vectors)
        after = await bench.counters()
        if not full_speed:
            return 0
        stalls = check_clocks(config, bursts, bench.reuse)
        counted = {name: after[name] - before[name] for name in COUNTERS}
        beats = sum(burst.beats for burst in bursts)
        expected = {"clocks": beats + stalls, "beats": beats, "stalls": stalls, "waits": 0}
        require(counted == expected, f"counters say {counted}, expected {expected}")
        longest, latency = bench.scoreboard.longest, bench.case.latency
        require(longest == latency, f"a row took {longest} clocks, {latency} are due")
        return stalls

    def burst(number: int, beats: int, *, refused: bool = False) -> Vector:
        return update(
            0,
            gradients(bench, beats * lanes),
            rate=number % (min(config.max_rate, 3) + 1),
            resolution=finest + 1 if refused else finest - number % 2 * (finest > 0),
        )

    if config.rows >= bench.reuse:
        beats = bench.reuse
        long = [burst(n, beats, refused=n == 2) for n in range(6)]
        stalls = await play([*long, burst(0, min(config.rows, LONGEST))])
        require(stalls == 0, f"bursts of {beats} beats and more stalled {stalls} clocks")
    count = 4
    stalls = await play([burst(n, 1) for n in range(count)])
    due = (count - 1) * (bench.reuse - 1)
    require(
        not full_speed or stalls == due,
        f"{count} bursts on one row stalled {stalls} clocks, {due} are due",
    )
    await play(randoms(bench, 12, longest=3 * lanes))


async def starved(bench: UnitBench) -> None:
    """Let gradients wait for their rows, then rows for their gradients."""
    assert isinstance(bench, StreamedBench)
    vector = update(0, gradients(bench, 1), rate=0, resolution=bench.config.max_resolution)
    bench.rows.held = True
    bench.send([vector])
    await check_stalls(bench, "without weights")
    bench.rows.held = False
    await bench.drain()

    bench.send([vector])
    beat = bench.gradients.queue.pop()
    await check_stalls(bench, "without gradients")
    bench.gradients.queue.append(beat)
    await bench.drain()


async def rows_held_back(bench: UnitBench) -> None:
    """Take no rows for a while: the unit stops, counts stalls, and then loses none of them."""
    config = bench.config
    everything = gradients(bench, config.depth)
    bench.send([update(0, everything, rate=0, resolution=config.max_resolution)])
    bench.send(randoms(bench, 48))
    left = await hold(bench, bench.weights, bench.gradients)
    require(left > 0, "the unit took every beat while no row could leave")
    await check_stalls(bench, "while no row could leave")
    bench.weights.held = False
