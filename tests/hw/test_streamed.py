"""Units of streamed weights, and streams of updates: equal to the model, in order, never lost."""

import re
from dataclasses import replace

import numpy as np
import pytest

from upshift import layout, vectors
from upshift.config import UnitConfig
from upshift.formats import Fixed, float32
from upshift.vectors import update
from upshift_hw import export
from upshift_hw.pipeline import pipeline_of
from upshift_hw.row_queue import RowQueue
from upshift_hw.streamed import StreamedUnit
from upshift_hw.unit import UpdateUnit
from upshift_hw.units import timing_of, unit_of
from upshift_sim.pysim import drive, simulate

RESIDENT = UnitConfig(lanes=4, depth=128, max_rate=20)
STREAMED = replace(RESIDENT, memory="streamed")
UPDATES = replace(RESIDENT, updates=True)
TIGHT = UnitConfig(lanes=1, depth=1, weight=Fixed(4, 3), gradient=Fixed(4, 2))
FLOAT = UnitConfig(lanes=2, depth=64, gradient=float32, max_rate=20)
PIPELINES = [4, 5, 6, 7, 8]
KINDS = {"streamed": {"memory": "streamed"}, "updates": {"updates": True}}


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_model_at_every_depth_of_the_pipeline(kind, pipeline, seed):
    config = replace(RESIDENT, pipeline=pipeline, **KINDS[kind])
    check(config, seed, idle=0.3, stall=0.8)


@pytest.mark.parametrize("config", [RESIDENT, TIGHT, FLOAT], ids=["4 lanes", "1 weight", "float"])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_model_at_full_rate_and_in_other_formats(kind, config, seed):
    check(replace(config, **KINDS[kind]), seed)


def check(config, seed, **pauses):
    weights = vectors.initial_weights(config, seed)
    some = vectors.standard(config, 20, seed)
    result = simulate(config, weights, some, seed=seed, **pauses)
    expected, reports = vectors.expect(config, weights, some)
    assert result.reports == reports
    assert np.array_equal(result.weights, expected)
    if config.updates:
        assert np.array_equal(result.mirrored, expected)
    counters = result.counters
    assert counters["beats"] == sum(len(list(vectors.beats(config, v))) for v in some)
    assert counters["clocks"] == counters["beats"] + counters["stalls"] + counters["waits"]
    if config.memory == "streamed":
        assert counters["waits"] == 0


# -- time -----------------------------------------------------------------------------------------


def burst(base, count, word=64, *, resolution=16):
    return update(base, [word] * count, rate=0, resolution=resolution)


def run(config, script):
    """Run an async script on a unit whose weights count up from zero; return what it returns."""
    results = []

    async def testbench(driver):
        await driver.write(np.arange(config.depth))
        results.append(await script(driver))

    drive(config, testbench)
    return results[0]


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("kind", KINDS)
def test_rows_leave_one_per_clock_after_the_documented_latency(kind, pipeline):
    config = replace(RESIDENT, pipeline=pipeline, **KINDS[kind])
    timing = timing_of(config)

    async def script(driver):
        unit, context = driver.unit, driver.context
        rows = unit.o_weights if kind == "streamed" else unit.o_updates
        context.set(rows.ready, 1)
        driver.offer(unit.i_command, driver.command(burst(0, 128)))
        driver.offer(unit.i_gradients, 0)
        if kind == "streamed":
            driver.offer(unit.i_weights, 0)
        taken, left = [], []
        for clock in range(70):
            if context.get(unit.i_gradients.ready):
                taken.append(clock)
            if context.get(rows.valid):
                left.append(clock)
            await driver.tick()
            driver.offer(unit.i_command, None)
        return taken, left

    taken, left = run(config, script)
    assert np.diff(taken).tolist() == [1] * 31
    after = timing.latency + (0 if kind == "streamed" else RowQueue.latency)
    assert left == [clock + after for clock in taken]


def test_the_timing_of_a_configuration_is_that_of_its_unit():
    for config in (STREAMED, UPDATES, RESIDENT):
        for pipeline in PIPELINES:
            unit = unit_of(replace(config, pipeline=pipeline))
            assert timing_of(unit.config) == (unit.latency, unit.distance)


def test_bursts_follow_one_another_without_a_gap():
    """Refused ones too, and a raise between bursts costs one clock."""
    some = [burst(0, 64), burst(64, 50), burst(0, 61, resolution=17), burst(66, 62)]

    async def script(driver):
        reports = await driver.run(some)
        return driver.taken, await driver.counters(), reports, await driver.read()

    taken, counters, reports, weights = run(STREAMED, script)
    beats = 16 + 13 + 16 + 16
    assert np.diff(taken).tolist() == [1] * (beats - 1)
    assert counters == {"clocks": beats, "beats": beats, "stalls": 0, "waits": 0}
    expected = vectors.expect(STREAMED, np.arange(128), some)
    assert (weights.tolist(), reports) == (expected[0].tolist(), expected[1])


# -- streams that stand still ---------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["gradients", "weights"])
def test_a_beat_needs_both_streams_and_clocks_without_one_are_stalls(missing):
    async def script(driver):
        unit = driver.unit
        driver.offer(unit.i_command, driver.command(burst(0, 8)))
        there, late = (
            (unit.i_weights, unit.i_gradients)
            if missing == "gradients"
            else (unit.i_gradients, unit.i_weights)
        )
        driver.offer(there, 0)
        await driver.tick()
        driver.offer(unit.i_command, None)
        await driver.tick(30)
        assert not driver.context.get(there.ready)
        before = await driver.counters()
        await driver.tick(64 - 4)  # counters are brought up to date in turn
        after = await driver.counters()
        driver.offer(late, 0)
        assert driver.context.get(there.ready)
        assert driver.context.get(late.ready)
        return before, after

    before, after = run(STREAMED, script)
    assert before["beats"] == after["beats"] == 0
    assert after["stalls"] - before["stalls"] == after["clocks"] - before["clocks"] == 64


@pytest.mark.parametrize("kind", KINDS)
def test_the_unit_stops_when_its_rows_are_not_taken_and_loses_none(kind):
    config = replace(RESIDENT, **KINDS[kind])
    some = [burst(0, 128), burst(1, 126)]

    async def script(driver):
        unit, context = driver.unit, driver.context
        rows = unit.o_weights if kind == "streamed" else unit.o_updates
        driver.offer(unit.i_command, driver.command(some[0]))
        driver.offer(unit.i_gradients, driver.beat([64] * 4))
        sent = []
        if kind == "streamed":
            driver.outside.add([some[0].command])
            driver.offer(unit.i_weights, driver.outside.next_row())
        for _ in range(100):
            if context.get(unit.i_gradients.ready):
                sent.append(len(sent))
                if kind == "streamed":
                    driver.outside.sent()
            await driver.tick()
            driver.offer(unit.i_command, None)
            if kind == "streamed":
                driver.offer(unit.i_weights, driver.outside.next_row())
        stalls = await driver.read_register("stalls")
        offered = set()
        for _ in range(64 - 1):
            assert context.get(rows.valid)
            offered.add(context.get(rows.payload.as_value()))
            await driver.tick()
        assert len(offered) == 1, "what is offered stays"
        assert await driver.read_register("stalls") == stalls + 64
        return len(sent)

    # The places of a queue that are in use, and two rows behind them.
    quarter = RowQueue(1, delay=pipeline_of(config).latency).quarter
    assert quarter + 2 < run(config, script) <= 2 * quarter + 2 + RowQueue.lag


def test_rows_of_refused_bursts_come_back_unchanged():
    some = [burst(4, 100, resolution=17), burst(0, 127, word=-9, resolution=0)]

    async def script(driver):
        return await driver.run(some), await driver.read()

    reports, weights = run(STREAMED, script)
    expected, told = vectors.expect(STREAMED, np.arange(128), some)
    assert reports == told
    assert reports[0]["refusal"] != 0
    assert weights.tolist() == expected.tolist() == list(range(128))


def test_the_unit_is_busy_until_its_rows_have_left():
    async def script(driver):
        unit = driver.unit
        driver.offer(unit.i_command, driver.command(burst(0, 4)))
        driver.offer(unit.i_gradients, 0)
        driver.offer(unit.i_weights, 0)
        assert driver.context.get(unit.i_command.ready)
        await driver.tick()
        driver.offer(unit.i_command, None)
        await driver.tick(40)
        assert await driver.read_register("status") & 1
        driver.context.set(unit.o_weights.ready, 1)
        await driver.tick(8)
        assert not await driver.read_register("status") & 1

    run(STREAMED, script)


def test_a_reset_drops_the_rows_inside_and_the_unit_works_again():
    async def script(driver):
        unit, context = driver.unit, driver.context
        driver.offer(unit.i_command, driver.command(burst(0, 128)))
        driver.offer(unit.i_gradients, 0)
        driver.offer(unit.i_weights, 0)
        await driver.tick(20)
        assert context.get(unit.o_weights.valid)
        context.set(driver.reset, 1)
        for stream in (unit.i_command, unit.i_gradients, unit.i_weights):
            driver.offer(stream, None)
        await driver.tick(2)
        context.set(driver.reset, 0)
        for _ in range(20):
            await driver.tick()
            assert not context.get(unit.o_weights.valid)
        return await driver.run([burst(3, 90)]), await driver.read()

    reports, weights = run(STREAMED, script)
    expected, told = vectors.expect(STREAMED, np.arange(128), [burst(3, 90)])
    assert (reports, weights.tolist()) == (told, expected.tolist())


# -- updates --------------------------------------------------------------------------------------


def test_updates_say_which_rows_and_lanes_were_written_and_when_a_burst_ends():
    some = [burst(2, 7), burst(0, 8, resolution=17), burst(13, 1)]
    fields = layout.updates(UPDATES)
    told = []

    async def script(driver):
        driver.mirror.apply = lambda payload: told.append(layout.unpack(fields, payload))
        await driver.run(some)

    run(UPDATES, script)
    assert [(u["row"], u["mask"], u["last"]) for u in told] == [
        (0, 0b1100, 0),
        (1, 0b1111, 0),
        (2, 0b0001, 1),
        (3, 0b0010, 1),
    ]


def test_without_updates_there_is_no_stream_and_no_logic_for_it():
    assert "o_updates" not in unit_of(RESIDENT).signature.members
    assert "updates" not in export.to_rtlil(RESIDENT)
    assert "o_updates" in unit_of(UPDATES).signature.members


# -- which unit it is -----------------------------------------------------------------------------


def test_the_configuration_decides_which_unit_it_is():
    assert isinstance(unit_of(STREAMED), StreamedUnit)
    assert isinstance(unit_of(UPDATES), UpdateUnit)
    assert set(unit_of(STREAMED).signature.members) == {
        *("i_command", "i_gradients", "i_weights"),
        *("o_report", "o_weights", "bus"),
    }
    with pytest.raises(ValueError, match="holds its weights: they cannot be streamed"):
        UpdateUnit(STREAMED)
    with pytest.raises(ValueError, match="holds no weights: they cannot be resident"):
        StreamedUnit(RESIDENT)
    with pytest.raises(ValueError, match="streamed weights holds none"):
        unit_of(STREAMED, np.zeros(128, np.int64))


# -- initial weights ------------------------------------------------------------------------------


def test_a_unit_holds_its_initial_weights_from_the_first_clock_and_after_a_reset():
    init = np.arange(128) - 64
    results = []

    async def testbench(driver):
        driver.context.set(driver.reset, 1)
        await driver.tick(2)
        driver.context.set(driver.reset, 0)
        results.append((await driver.read()).tolist())
        await driver.run([burst(0, 8)])
        results.append((await driver.read()).tolist())

    drive(RESIDENT, testbench, init=init)
    expected, _ = vectors.expect(RESIDENT, init, [burst(0, 8)])
    assert results == [init.tolist(), expected.tolist()]


@pytest.mark.parametrize(
    ("init", "message"),
    [
        (np.zeros(127, np.int64), r"of shape \(127,\) are not allowed: \(128,\)"),
        (np.full(128, 1 << 17), r"raw word 131072 is not a Fixed\(18, 16\)"),
    ],
)
def test_initial_weights_that_do_not_fit_are_refused(init, message):
    with pytest.raises(ValueError, match=message):
        UpdateUnit(RESIDENT, init)


def test_verilog_carries_initial_weights_and_leaves_other_memories_unknown():
    init = np.arange(128) - 64
    verilog = export.to_verilog(RESIDENT, init=init)
    found = [int(word, 16) for word in re.findall(r"= 18'h(\w+);", initial_blocks(verilog))]
    assert sorted(found) == sorted(int(word) % (1 << 18) for word in init)
    assert "initial" not in export.to_verilog(RESIDENT)


def initial_blocks(verilog):
    return "\n".join(re.findall(r"^  initial begin\n(.*?)^  end", verilog, re.M | re.S))
