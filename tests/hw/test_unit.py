"""The update unit in Amaranth's simulator: equal to the model, and as fast as it says."""

import dataclasses
from itertools import accumulate

import numpy as np
import pytest

from upshift import registers, vectors
from upshift.config import UnitConfig
from upshift.formats import Fixed, bfloat16, float32
from upshift.layout import Operation
from upshift.reference import Command
from upshift.report import Refusal
from upshift.vectors import Vector, update
from upshift_hw.unit import UpdateUnit
from upshift_sim.pysim import drive, simulate

SMALL = UnitConfig(lanes=4, depth=64, max_rate=20)
DISTANCE, LATENCY = 4, 5  # as documented: waits of three clocks at most, written in the fifth

CONFIGS = {
    "default": UnitConfig(),
    "one lane": UnitConfig(lanes=1, depth=40, weight=Fixed(8, 8), gradient=Fixed(9, 3)),
    "32 lanes": UnitConfig(lanes=32, depth=192),
    "tiny": UnitConfig(lanes=2, depth=4, weight=Fixed(2, 2), gradient=Fixed(2, 0), max_rate=0),
    "one weight": UnitConfig(lanes=1, depth=1, weight=Fixed(4, 3), gradient=Fixed(4, 2)),
    "one row": UnitConfig(lanes=8, depth=8, max_rate=9),
    "13 rows": UnitConfig(lanes=4, depth=52, weight=Fixed(16, 12), gradient=Fixed(16, 12)),
    "no fraction": UnitConfig(
        lanes=2, depth=10, weight=Fixed(32, 0), gradient=Fixed(32, 32), max_rate=63
    ),
    "all fraction": UnitConfig(
        lanes=2, depth=64, weight=Fixed(32, 32), gradient=Fixed(32, 0), max_rate=63
    ),
    "bfloat16": UnitConfig(lanes=8, depth=64, gradient=bfloat16, max_rate=20),
    "float32": UnitConfig(lanes=32, depth=64, gradient=float32, weight=Fixed(16, 12)),
    "one lane, bfloat16": UnitConfig(lanes=1, depth=5, gradient=bfloat16, weight=Fixed(2, 2)),
}
PAUSES = {
    "full rate": {},
    "idle": {"idle": 0.4},
    "stall": {"stall": 0.97},
    "idle and stall": {"idle": 0.3, "stall": 0.8},
}


CASES = [(name, "full rate", 40) for name in CONFIGS]
CASES += [(name, "idle and stall", 10) for name in CONFIGS if name != "default"]
CASES += [("13 rows", "idle", 40), ("13 rows", "stall", 120)]


@pytest.mark.parametrize(("name", "pauses", "count"), CASES)
def test_equals_the_model(name, pauses, count, seed):
    config = CONFIGS[name]
    weights = vectors.initial_weights(config, seed)
    some = vectors.standard(config, count, seed)
    result = simulate(config, weights, some, seed=seed, **PAUSES[pauses])
    expected, reports = vectors.expect(config, weights, some)
    assert result.reports == reports
    assert np.array_equal(result.weights, expected)
    counters = result.counters
    assert counters["beats"] == sum(len(list(vectors.beats(config, v))) for v in some)
    assert counters["clocks"] == counters["beats"] + counters["stalls"] + counters["waits"]
    assert counters["clocks"] <= result.clocks
    assert (counters["stalls"] > 0) == bool(PAUSES[pauses])


def run(config, script, **options):
    """Run an async script on a unit whose weights count up from zero; return what it returns."""
    results = []

    async def testbench(driver):
        await driver.write(np.arange(config.depth) % (config.weight.max + 1))
        results.append(await script(driver))

    drive(config, testbench, **options)
    return results[0]


def burst(base, count, word=64, *, rate=0, resolution=16):
    return update(base, [word] * count, rate=rate, resolution=resolution)


def test_documented_distances():
    unit = UpdateUnit(SMALL)
    assert (unit.distance, unit.latency) == (DISTANCE, LATENCY)
    unit.elaborate(None)


@pytest.mark.parametrize(
    ("pipeline", "distance"), [(4, 3), (5, DISTANCE), (6, 4), (7, 5), (8, 7), (9, 7)]
)
def test_every_depth_keeps_the_rules(pipeline, distance, seed):
    config = dataclasses.replace(SMALL, pipeline=pipeline)
    unit = UpdateUnit(config)
    assert (unit.latency, unit.distance) == (pipeline, distance)
    unit.elaborate(None)
    some = [burst(8, 4) for _ in range(4)] + [burst(4 * (n % 16), 4, n) for n in range(40)]
    taken, counters = traffic(some, config)
    assert np.diff(taken)[:3].tolist() == [distance] * 3
    assert max(np.diff(taken)) <= distance
    assert counters["beats"] == 44
    assert counters["stalls"] == 0
    weights = vectors.initial_weights(config, seed)
    some = vectors.standard(config, 12, seed)
    result = simulate(config, weights, some, seed=seed, idle=0.2, stall=0.5)
    expected, reports = vectors.expect(config, weights, some)
    assert result.reports == reports
    assert np.array_equal(result.weights, expected)


# -- throughput -----------------------------------------------------------------------------------


def traffic(some, config=SMALL):
    """Clock of each beat, counters, and whether all was right."""

    async def script(driver):
        reports = await driver.run(some)
        return driver.taken, await driver.counters(), reports, await driver.read()

    taken, counters, reports, weights = run(config, script)
    expected = vectors.expect(config, np.arange(config.depth), some)
    assert (weights.tolist(), reports) == (expected[0].tolist(), expected[1])
    return taken, counters


def test_one_beat_per_clock_inside_and_between_bursts():
    some = [burst(0, 64), burst(0, 24), burst(24, 40), burst(1, 50), burst(3, 16)]
    taken, counters = traffic(some)
    beats = 16 + 6 + 10 + 13 + 5
    assert np.diff(taken).tolist() == [1] * (beats - 1)
    assert counters == {"clocks": beats, "beats": beats, "stalls": 0, "waits": 0}


def test_one_beat_bursts_keep_the_full_rate():
    """More of them than reports that can wait, none on a row in flight."""
    some = [burst(4 * (n % 16), 4) for n in range(150)]
    taken, counters = traffic(some)
    assert np.diff(taken).tolist() == [1] * 149
    assert counters == {"clocks": 150, "beats": 150, "stalls": 0, "waits": 0}


@pytest.mark.parametrize("beats", range(1, 7))
def test_bursts_on_the_same_rows_wait_only_when_shorter_than_the_distance(beats):
    some = [burst(8, 4 * beats) for _ in range(5)]
    taken, counters = traffic(some)
    waits = max(0, DISTANCE - beats)
    starts = taken[::beats]
    assert np.diff(starts).tolist() == [beats + waits] * 4
    assert counters == {
        "clocks": 5 * beats + 4 * waits,
        "beats": 5 * beats,
        "stalls": 0,
        "waits": 4 * waits,
    }


def test_neighbours_that_share_a_row_but_no_lane_never_wait():
    some = [burst(base, 1) for base in range(64)]
    taken, counters = traffic(some)
    assert np.diff(taken).tolist() == [1] * 63
    assert counters["waits"] == counters["stalls"] == 0
    # One lane in common is enough to wait.
    _, counters = traffic([burst(0, 3), burst(2, 2)])
    assert counters["waits"] == DISTANCE - 1


def test_a_wait_never_exceeds_the_distance(rng):
    some = []
    for _ in range(150):
        base = int(rng.integers(12))
        some.append(burst(base, int(rng.integers(1, 9)), int(rng.integers(-99, 99))))
    taken, counters = traffic(some)
    assert max(np.diff(taken)) <= DISTANCE
    assert counters["waits"] == int(np.sum(np.diff(taken) - 1)) > 0


def test_refused_bursts_and_raises_cost_no_more_than_their_beats():
    refused = burst(0, 12, resolution=17)
    some = [burst(0, 16), refused, burst(16, 16), refused]
    taken, counters = traffic(some)
    assert np.diff(taken).tolist() == [1] * 13
    assert counters == {"clocks": 14, "beats": 14, "stalls": 0, "waits": 0}


# -- reports --------------------------------------------------------------------------------------


def test_reports_are_never_lost_while_nobody_takes_them():
    some = [burst(n % 60, 1 + n % 4, n) for n in range(150)]

    async def script(driver):
        unit, context = driver.unit, driver.context
        driver.offer(unit.i_gradients, 0)
        sent = 0
        for _ in range(400):
            driver.offer(unit.i_command, driver.command(some[sent]))
            sent += context.get(unit.i_command.ready)
            await driver.tick()
        beats = await driver.read_register("beats")
        reports = []
        context.set(unit.o_report.ready, 1)
        for _ in range(800):
            driver.offer(unit.i_command, driver.command(some[sent]) if sent < len(some) else None)
            sent += sent < len(some) and context.get(unit.i_command.ready)
            if context.get(unit.o_report.valid):
                reports.append(driver.report())
            await driver.tick()
        for _ in range(30):
            assert not context.get(unit.o_report.valid)
            await driver.tick()
        return beats, reports, await driver.counters()

    beats, reports, counters = run(SMALL, script)
    started = list(accumulate(SMALL.beats(n % 60, 1 + n % 4) for n in range(150)))
    # Two quarters of the queue, what starts before that is known, and two reports behind it.
    assert 62 <= started.index(beats) + 1 <= 70
    assert counters["stalls"] > 200
    assert counters["clocks"] == counters["beats"] + counters["stalls"] + counters["waits"]
    assert [report["elements"] for report in reports] == [1 + n % 4 for n in range(150)]


def test_a_report_that_is_offered_stays_until_it_is_taken():
    async def script(driver):
        unit, context = driver.unit, driver.context
        driver.offer(unit.i_gradients, driver.beat([64] * 4))
        for vector in (burst(0, 4), burst(8, 3)):
            driver.offer(unit.i_command, driver.command(vector))
            await driver.tick()
        driver.offer(unit.i_command, None)
        await driver.tick(30)
        payloads = set()
        for _ in range(20):
            assert context.get(unit.o_report.valid)
            payloads.add(context.get(unit.o_report.payload.as_value()))
            await driver.tick()
        assert len(payloads) == 1
        assert driver.report()["elements"] == 4

    run(SMALL, script)


# -- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "cause"),
    [
        (Command(Operation.UPDATE, 0, 9, 0, 4), Refusal.FLOOR),
        (Command(Operation.UPDATE, 0, 9, 0, 17), Refusal.FRACTION),
        (Command(Operation.UPDATE, 0, 9, 21, 9), Refusal.RATE),
        (Command(Operation.UPDATE, 5, 0, 0, 9), Refusal.COUNT),
        (Command(Operation.UPDATE, 60, 5, 0, 9), Refusal.RANGE),
        (Command(Operation.UPDATE, 64, 1, 0, 9), Refusal.RANGE),
        (Command(Operation.UPDATE, 127, 127, 0, 9), Refusal.RANGE),
        (Command(Operation.UPDATE, 127, 127, 31, 4), Refusal.RANGE | Refusal.RATE | Refusal.FLOOR),
        (Command(Operation.RAISE, 0, 0, 0, 4), Refusal.FLOOR),
        (Command(Operation.RAISE, 0, 0, 0, 17), Refusal.FRACTION),
    ],
)
def test_refusals_change_no_weight_and_keep_the_stream_in_step(command, cause):
    some = [
        Vector(Command(Operation.RAISE, resolution=5), np.zeros(0, int)),
        burst(0, 7),
        Vector(command, np.full(command.count, 999)),
        burst(3, 9, 128),
    ]

    async def script(driver):
        reports = await driver.run(some)
        return reports, await driver.read(), await driver.read_register("error")

    reports, weights, error = run(SMALL, script)
    assert reports[2] == dict.fromkeys(reports[2], 0) | {"refusal": cause}
    assert error == cause
    expected, _ = vectors.expect(SMALL, np.arange(64), [some[1], some[3]])
    assert weights.tolist() == expected.tolist()


def test_the_error_register_keeps_causes_until_they_are_cleared():
    async def script(driver):
        assert await driver.read_register("error") == 0
        await driver.run([burst(0, 4, rate=21), burst(0, 4), burst(62, 4), burst(0, 4)])
        both = Refusal.RATE | Refusal.RANGE
        assert await driver.read_register("error") == both
        await driver.write_register("error", Refusal.RATE | Refusal.COUNT)
        assert await driver.read_register("error") == Refusal.RANGE
        await driver.run([burst(0, 4, resolution=17)])
        assert await driver.read_register("error") == Refusal.RANGE | Refusal.FRACTION
        await driver.write_register("error", 0xFFFFFFFF)
        assert await driver.read_register("error") == 0

    run(SMALL, script)


def test_the_floor_rises_only_by_command_and_never_falls():
    def raising(resolution):
        return Vector(Command(Operation.RAISE, resolution=resolution), np.zeros(0, int))

    async def script(driver):
        async def floor():
            return (await driver.read_register("status")) >> 8

        assert await floor() == 0
        await driver.run([burst(0, 4, resolution=9)])
        assert await floor() == 0, "an update does not raise the floor"
        for resolution, refusal, after in ((9, 0, 9), (3, Refusal.FLOOR, 9), (16, 0, 16)):
            (report,) = await driver.run([raising(resolution)])
            assert (report["refusal"], await floor()) == (refusal, after)
        reports = await driver.run([burst(0, 4, resolution=15), burst(0, 4, resolution=16)])
        assert [report["refusal"] for report in reports] == [Refusal.FLOOR, 0]

    run(SMALL, script)


def test_identity_registers():
    async def script(driver):
        return {name: await driver.read_register(name) for name in registers.identity(SMALL)}

    assert run(SMALL, script) == registers.identity(SMALL)
