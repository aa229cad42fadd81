"""What the bench does with a unit, scenario by scenario.

Each scenario starts with a quiet unit that was reset, and ends drained and counted, with every
row that it may have changed read back. What it must have met on the way is decided by the
coverage, not here. The scenarios in this file are about arithmetic; those about control are in
`control`, those about beats that others are under way with in `underway`, those about weights
that stream in `streaming`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np

from upshift.config import Holding
from upshift.vectors import ends, initial_weights, standard, tie, update
from upshift_sim.bench import control, streaming, underway, vectors_file
from upshift_sim.bench.scoreboard import require
from upshift_sim.bench.testbench import UnitBench
from upshift_sim.bench.timing import check_clocks

Scenario = Callable[[UnitBench], Awaitable[None]]


async def standard_vectors(bench: UnitBench) -> None:
    """Play random updates and all named corners."""
    config = bench.config
    await bench.load(initial_weights(config, bench.case.seed))
    bursts = await bench.play(standard(config, bench.case.bursts, bench.case.seed))
    if not (bench.case.idle or bench.case.stall):
        check_clocks(config, bursts, bench.reuse)


async def ties_and_ends(bench: UnitBench) -> None:
    """Play ties of both signs, and push weights at both ends of their range outwards."""
    config = bench.config
    low, high = ends(config)
    everything = (1 << config.lanes) - 1
    for negative in (False, True):
        found = tie(config, negative=negative)
        if found:
            word, rate, resolution = found
            await bench.play([update(0, [word], rate=rate, resolution=resolution)])
    for weight, word in ((config.weight.max, low), (config.weight.min, high)):
        bench.host_write(0, [weight] * config.lanes, everything)
        await bench.drain()
        await bench.play(
            [update(0, [word] * config.lanes, rate=0, resolution=config.max_resolution)]
        )


async def recorded_vectors(bench: UnitBench) -> None:
    """Play vectors from a file, and compare with what the file says must come of them."""
    assert bench.case.vectors is not None
    recorded = vectors_file.load(Path(bench.case.vectors))
    await bench.load(recorded.weights)
    bursts = await bench.play(recorded.vectors)
    require(len(bursts) == len(recorded.expected) > 0, "the file has no bursts")
    for burst, expected in zip(bursts, recorded.expected, strict=True):
        for name, value in expected.fields().items():
            # The scoreboard has compared the unit's report with this one.
            found = burst.report[name]
            require(found == value, f"{burst.command}: {name} is {found}, the file says {value}")
    weights = await bench.read_all()
    wrong = np.flatnonzero(weights != recorded.expected_weights)
    require(
        wrong.size == 0,
        f"{wrong.size} weights differ from the file's, the first at {wrong[:1].tolist()}",
    )


def _named(*scenarios: Scenario) -> dict[str, Scenario]:
    return {scenario.__name__: scenario for scenario in scenarios}


SCENARIOS: dict[Holding, dict[str, Scenario]] = {
    "resident": _named(
        control.identity_and_errors,
        standard_vectors,
        ties_and_ends,
        control.throughput,
        underway.hazards_of_every_age,
        underway.registers_in_bursts,
        control.host_accesses,
        control.reports_held_back,
        control.updates_held_back,
        control.resets_in_bursts,
        recorded_vectors,
    ),
    "streamed": _named(
        control.identity_and_errors,
        standard_vectors,
        ties_and_ends,
        streaming.throughput,
        underway.registers_in_bursts,
        streaming.starved,
        streaming.rows_held_back,
        control.reports_held_back,
        control.resets_in_bursts,
        recorded_vectors,
    ),
}
"""All scenarios by name, in the order in which they are played, for either kind of unit."""


async def play(bench: UnitBench) -> None:
    """Play the case's scenarios; then the whole memory and the coverage must be right."""
    scenarios = SCENARIOS[bench.config.memory]
    left_out = set()
    if not bench.case.vectors:
        left_out.add("recorded_vectors")
    if not bench.config.updates:
        left_out.add("updates_held_back")
    names = bench.case.scenarios or [name for name in scenarios if name not in left_out]
    await bench.start()
    await bench.load(initial_weights(bench.config, bench.case.seed))
    for name in names:
        try:
            await bench.reset()
            await scenarios[name](bench)
            await bench.settle()
        except Exception as error:
            error.add_note(f"scenario {name}, clock {bench.clock}")
            raise
    compared = bench.scoreboard.weights
    await bench.read_all()
    compared = bench.scoreboard.weights - compared
    require(compared == bench.config.depth, f"{compared} weights compared at the end, not all")
    require(bench.scoreboard.reports > 0, "no report was compared")
    bench.coverage.check()
