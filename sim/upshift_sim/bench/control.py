"""Scenarios about control: registers, throughput, host accesses, back-pressure and reset.

What they send is directed at one rule each, but what must come of it is left to the scoreboard.
"""

from __future__ import annotations

from upshift import registers
from upshift.report import Refusal
from upshift.vectors import Vector, corners, update
from upshift_sim.bench.scoreboard import require
from upshift_sim.bench.stimuli import gradients, raise_floor, randoms
from upshift_sim.bench.streams import Sink, Source
from upshift_sim.bench.testbench import COUNTERS, UnitBench
from upshift_sim.bench.timing import check_clocks

LONGEST = 64
"""Beats of the longest bursts: many pipelines long, whatever the depth."""


async def identity_and_errors(bench: UnitBench) -> None:
    """Check identity, busy, floor, and errors that stay until a one clears them."""
    config = bench.config
    for name, value in registers.identity(config).items():
        word = await bench.read_address(registers.BY_NAME[name].address)
        require(word == value, f"register {name} is {word:#x}, expected {value:#x}")
        await bench.write_register(name, ~value & 0xFFFFFFFF)
        again = await bench.read_address(registers.BY_NAME[name].address)
        require(again == value, f"register {name} could be written: {again:#x}")
    for name in ("error", *COUNTERS):
        word = await bench.read_address(registers.BY_NAME[name].address)
        require(word == 0, f"register {name} is {word:#x} after reset")
    count = len(registers.REGISTERS)
    for address in range(count, 1 << (count - 1).bit_length()):
        word = await bench.read_address(address)
        require(word == 0, f"address {address} has no register and reads {word:#x}")

    finest = config.max_resolution
    seen = 0
    for vector in corners(config)["refused"]:
        await bench.play([vector])
        seen |= bench.scoreboard.history[-1].report["refusal"]
        word = await bench.read_register("error", "refusal")
        require(word == seen, f"error is {word:#x} after refusals {seen:#x}")
    require(bool(seen), "nothing was refused")
    for cause in Refusal:
        await bench.write_register("error", cause)
        seen &= ~cause
        word = await bench.read_register("error", "refusal")
        require(word == seen, f"error is {word:#x}, expected {seen:#x} after clearing {cause!r}")

    for resolution in range(bench.scoreboard.unit.floor, finest + 1):
        await bench.play([raise_floor(resolution)])
        word = await bench.read_register("status", "floor")
        require(word == resolution, f"floor is {word}, expected {resolution}")
    await _check_busy(bench)


async def _check_busy(bench: UnitBench) -> None:
    vector = update(0, [0], rate=0, resolution=bench.config.max_resolution)
    bench.send([vector])
    beat = bench.gradients.queue.pop()
    await bench.until(lambda: not bench.commands.queue, "for the command")
    for _ in range(8):  # a command is checked before the unit is busy with it
        await bench.cycle()
    busy = await bench.read_register("status", "busy")
    require(busy == 1, "a burst that waits for its gradients is not busy")
    bench.gradients.queue.append(beat)
    await bench.drain()
    for _ in range(4):  # busy may fall late, but must not fall early
        await bench.cycle()
    busy = await bench.read_register("status", "busy")
    require(busy == 0, "busy after the last report")


async def throughput(bench: UnitBench) -> None:
    """Play bursts that never wait, bursts that must, and bursts that only share a row.

    The clocks themselves are compared when neither sources nor sinks pause.
    """
    config, distance = bench.config, bench.case.distance
    finest, lanes, depth = config.max_resolution, config.lanes, config.depth
    longest = min(depth, LONGEST * lanes)
    full_speed = not (bench.case.idle or bench.case.stall)

    async def play(vectors: list[Vector]) -> int:
        before = await bench.counters()
        bursts = await bench.play(vectors)
        after = await bench.counters()
        if not full_speed:
            return 0
        waits = check_clocks(config, bursts, distance)
        counted = {name: after[name] - before[name] for name in COUNTERS}
        beats = sum(burst.beats for burst in bursts)
        expected = {"clocks": beats + waits, "beats": beats, "stalls": 0, "waits": waits}
        require(counted == expected, f"counters say {counted}, expected {expected}")
        return waits

    def changing(number: int) -> dict[str, int]:
        return {
            "rate": number % (min(config.max_rate, 3) + 1),
            "resolution": finest - number % 2 * (finest > 0),
        }

    if config.rows >= distance:
        long = [update(0, gradients(bench, distance * lanes), **changing(n)) for n in range(4)]
        long += [update(0, gradients(bench, longest), **changing(n)) for n in range(2)]
        waits = await play(long)
        require(waits == 0, f"bursts of {distance} beats and more waited {waits} clocks")
    if lanes > 1:
        half = lanes // 2
        waits = await play(
            [
                update(0, gradients(bench, half), **changing(0)),
                update(half, gradients(bench, lanes - half), **changing(1)),
            ]
        )
        require(waits == 0, f"bursts that share a row but no lane waited {waits} clocks")
    count = 8
    waits = await play(
        [update(depth - 1, gradients(bench, 1), **changing(n)) for n in range(count)]
    )
    require(
        not full_speed or waits == (count - 1) * (distance - 1),
        f"{count} bursts on one weight waited {waits} clocks",
    )
    await play(randoms(bench, 12, longest=3 * lanes))


async def host_accesses(bench: UnitBench) -> None:
    """Read and write as a host while bursts are in progress."""
    config, board, rng = bench.config, bench.scoreboard, bench.rng
    everything = (1 << config.lanes) - 1
    count = 1 + min(config.depth - config.lanes, 12 * config.lanes)

    def words(count: int) -> list[int]:
        return [rng.randint(config.weight.min, config.weight.max) for _ in range(count)]

    long = [
        update(
            rng.randrange(config.lanes),
            gradients(bench, count),
            rate=rng.randint(0, min(config.max_rate, 4)),
            resolution=config.max_resolution,
        )
        for _ in range(24)
    ]
    bench.send(long)
    number = 0

    def done() -> bool:
        nonlocal number
        if not bench.access.queue and board.in_progress(bench.clock) and rng.random() < 0.5:
            row = rng.randrange(config.rows)
            if number % 2:
                bench.host_write(row, words(config.lanes), rng.randint(0, everything))
            else:
                bench.host_read(row)
            number += 1
        return board.drained and not bench.commands.queue

    await bench.until(done, "for bursts with host accesses between them")


async def reports_held_back(bench: UnitBench) -> None:
    """Take no reports for a while: the unit stops, and then loses none of them."""
    bench.send(randoms(bench, 160, longest=bench.config.lanes))
    left = await hold(bench, bench.reports, bench.commands)
    require(left > 0, "the unit took every command while no report could leave")
    bench.reports.held = False


async def updates_held_back(bench: UnitBench) -> None:
    """Take no updates for a while: the unit stops, counts stalls, and then loses none of them."""
    bench.send(randoms(bench, 48))
    left = await hold(bench, bench.updates, bench.gradients)
    require(left > 0, "the unit took every beat while no update could leave")
    await check_stalls(bench, "while no update could leave")
    bench.updates.held = False


async def hold(bench: UnitBench, sink: Sink, source: Source) -> int:
    """Let a sink take nothing from now on; return what a source has left once it is stuck."""
    sink.held = True
    quiet = 0
    left = len(source.queue)
    while quiet < 128:
        await bench.cycle()
        quiet = quiet + 1 if len(source.queue) == left else 0
        left = len(source.queue)
    return left


async def check_stalls(bench: UnitBench, why: str) -> None:
    """Check that every clock of a burst that stands still is counted as a stall."""
    for _ in range(60):
        await bench.cycle()
    before, start = await bench.read_register("stalls"), bench.clock
    # Counters are brought up to date in turn, so they are looked at in equal turns.
    while bench.clock < start + 62:
        await bench.cycle()
    stalls, clocks = await bench.read_register("stalls") - before, bench.clock - start
    require(stalls == clocks == 64, f"{stalls} stalls were counted in {clocks} clocks {why}")


async def resets_in_bursts(bench: UnitBench) -> None:
    """Reset in the middle of bursts: each weight is old or new, and the unit works again."""
    config, board, rng = bench.config, bench.scoreboard, bench.rng
    for number in range(6):
        if config.max_resolution:
            await bench.play([raise_floor(1)])
        # Reports that wait must be forgotten too, and their slots be free again.
        bench.reports.held = number % 2 == 1
        short = randoms(bench, 12, longest=1, floor=board.unit.floor)
        size = min(config.depth, (LONGEST if number % 3 else 3) * config.lanes)
        long = [
            update(0, gradients(bench, size), rate=0, resolution=config.max_resolution)
            for _ in range(3)
        ]
        full_bursts = len(board.history) + len(short) + rng.randint(0, 2)
        beats = rng.randint(1, max(1, min(config.rows, 12) - 1))
        bench.send([*short, *long])

        def reached(full_bursts: int = full_bursts, beats: int = beats) -> bool:
            done = len(board.history)
            return done > full_bursts or (done == full_bursts and board.partial >= beats)

        await bench.until(reached, "for a burst to reset in")
        await bench.reset(rng.randint(1, 3))
        bench.reports.held = False
        floor = await bench.read_register("status", "floor")
        require(floor == 0, f"floor is {floor} after reset")
        await bench.read_rows(sorted(board.touched))
        await bench.play([update(0, gradients(bench, 1), rate=0, resolution=0), *randoms(bench, 3)])
        await bench.settle()
