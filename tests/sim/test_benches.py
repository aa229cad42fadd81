"""The cocotb benches: every configuration, simulator and kind of pause, and that they can fail."""

import dataclasses
import itertools
import os

import pytest
import torch

from upshift import equation
from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift.vectors import initial_weights, random_vectors
from upshift_hw.units import timing_of
from upshift_sim.bench import runner, vectors_file
from upshift_sim.bench.runner import BenchError, SimulatorMissingError
from upshift_sim.bench.unit_bins import FLOATING, RESIDENT, STREAMED, Bin, hazards, required
from upshift_sim.bench.vectors_file import Expected, Recorded

CONFIGS = {
    "8 lanes": UnitConfig(lanes=8, depth=256),
    "4 lanes": UnitConfig(lanes=4, weight=Fixed(16, 12), gradient=Fixed(16, 12), depth=48),
    "1 lane": UnitConfig(lanes=1, weight=Fixed(8, 8), gradient=Fixed(9, 3), depth=24, max_rate=10),
}
SMALL = CONFIGS["4 lanes"]
CONFIGS["streamed"] = dataclasses.replace(SMALL, depth=192, memory="streamed")
CONFIGS["updates"] = dataclasses.replace(SMALL, updates=True)
PAUSES = [*itertools.product((False, True), repeat=2)]
FAULTS = (1, 2, 4)


def record_torch(path, config, seed, bursts=40):
    """Write random bursts with what torch says must come of them."""
    weights = initial_weights(config, seed)
    vectors = random_vectors(config, bursts, seed)
    held = torch.from_numpy(config.weight.decode(weights))
    expected = []
    for vector in vectors:
        command = vector.command
        part = held[command.base : command.base + command.count]
        new, report = equation.step(
            part,
            torch.from_numpy(config.gradient.decode(vector.gradients)),
            lr=2.0**-command.rate,
            resolution=command.resolution,
            weight=config.weight,
        )
        part.copy_(new)
        expected.append(Expected(report.nonzero, report.saturated, report.resolution_needed))
    recorded = Recorded(config, weights, vectors, config.weight.encode(held.numpy()), expected)
    vectors_file.save(path, recorded)
    return path


def must(config):
    """Return what a bench of a configuration must meet."""
    return required(config, timing_of(config).distance)


def check(result, config):
    """Assert that the bench did what it says, and met all that it must."""
    assert result.reports > 200
    assert result.bursts >= result.reports
    assert result.weights > config.depth
    assert result.elements > result.reports
    assert (result.rows > 200) == (config.memory == "streamed" or config.updates)
    assert all(result.coverage[name] for name in must(config))


@pytest.mark.parametrize(("idle", "stall"), PAUSES)
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_icarus(config, idle, stall, seed, tmp_path):
    vectors = record_torch(tmp_path / "torch.npz", config, seed)
    result = runner.run(
        config,
        "icarus",
        idle=idle,
        stall=stall,
        seed=seed,
        vectors=vectors,
        directory=tmp_path,
    )
    check(result, config)


@pytest.mark.parametrize("name", ["8 lanes", "streamed", "updates"])
def test_verilator(name, seed, tmp_path):
    """All four cases from one build, each in its own directory; one is also run in Icarus."""
    config = CONFIGS[name]
    options = {
        "seed": seed,
        "vectors": record_torch(tmp_path / "torch.npz", config, seed),
        "directory": tmp_path,
    }
    for idle, stall in PAUSES:
        result = runner.run(config, "verilator", idle=idle, stall=stall, **options)
        check(result, config)
    other = runner.run(config, "icarus", idle=True, stall=True, **options)
    assert dataclasses.replace(other, simulator="verilator", seconds=result.seconds) == result
    assert len([*tmp_path.glob("verilator-*/built")]) == 1
    assert len([*tmp_path.glob("verilator-*/coverage.json")]) == 4


def test_the_same_seed_repeats_the_same_run(seed, tmp_path):
    first, second = (
        runner.run(SMALL, "icarus", idle=True, stall=True, seed=seed, directory=tmp_path / name)
        for name in ("first", "second")
    )
    assert dataclasses.replace(second, seconds=first.seconds) == first


# -- benches that must fail ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("simulator", "fault"), [*(("icarus", fault) for fault in FAULTS), ("verilator", FAULTS[0])]
)
def test_a_faulty_unit_fails(simulator, fault, seed, tmp_path):
    idle, stall = PAUSES[fault % len(PAUSES)]
    with pytest.raises(BenchError, match=rf"differs.*\n.*{simulator}.*seed={seed}"):
        runner.run(
            SMALL,
            simulator,
            idle=idle,
            stall=stall,
            seed=seed,
            fault=fault,
            directory=tmp_path,
        )


def test_a_missing_bin_fails(seed, tmp_path):
    with pytest.raises(BenchError, match="never seen, though required: ") as failure:
        runner.run(
            SMALL,
            "icarus",
            idle=False,
            stall=False,
            seed=seed,
            scenarios=["identity_and_errors"],
            directory=tmp_path,
        )
    for name in (*in_flight(SMALL), Bin.TIE_NEGATIVE, Bin.COUNTED_WAITS, Bin.CLEARED_IN_BURST):
        assert name in str(failure.value)


@pytest.mark.parametrize("what", ["nonzero", "needed", "weights"])
def test_vectors_that_expect_something_else_fail(what, seed, tmp_path):
    path = record_torch(tmp_path / "torch.npz", SMALL, seed)
    recorded = vectors_file.load(path)
    if what == "weights":
        wrong = recorded.expected_weights.copy()
        wrong[-1] ^= 1
        recorded = dataclasses.replace(recorded, expected_weights=wrong)
    else:
        last = recorded.expected[-1]
        changed = {"nonzero": last.nonzero + 1, "needed": (last.needed or 0) + 1}
        last = dataclasses.replace(last, **{what: changed[what]})
        recorded = dataclasses.replace(recorded, expected=[*recorded.expected[:-1], last])
    vectors_file.save(path, recorded)
    with pytest.raises(BenchError, match="the file"):
        runner.run(
            SMALL,
            "icarus",
            idle=False,
            stall=False,
            seed=seed,
            vectors=path,
            scenarios=["recorded_vectors"],
            directory=tmp_path,
        )


def test_verilog_that_does_not_compile(monkeypatch, tmp_path):
    monkeypatch.setattr(runner, "_verilog", lambda config, fault: "module upshift(;")
    with pytest.raises(BenchError, match=r"could not be built.*\n.*syntax error"):
        runner.run(
            UnitConfig(depth=8), "icarus", idle=False, stall=False, seed=0, directory=tmp_path
        )


# -- around a run -------------------------------------------------------------------------------


@pytest.mark.parametrize("simulator", runner.SIMULATORS)
def test_waves_on_request(simulator, seed, tmp_path):
    before = dict(os.environ)
    result = runner.run(
        SMALL, simulator, idle=False, stall=False, seed=seed, waves=True, directory=tmp_path
    )
    assert result.waves.parent.parent == tmp_path
    assert result.waves.stat().st_size > 10_000
    ours = dict(os.environ)
    for environment in (before, ours):
        environment.pop("PYTEST_CURRENT_TEST")
    assert ours == before


def test_vectors_of_another_configuration_are_refused(seed, tmp_path):
    path = record_torch(tmp_path / "torch.npz", SMALL, seed)
    with pytest.raises(ValueError, match="another configuration"):
        runner.run(
            CONFIGS["1 lane"],
            "icarus",
            idle=False,
            stall=False,
            seed=seed,
            vectors=path,
            directory=tmp_path,
        )


@pytest.mark.parametrize(
    ("simulator", "message"),
    [("icarus", "iverilog, vvp not found.*apt"), ("verilator", "perl, make, g\\+\\+ not found")],
)
def test_a_missing_simulator_is_named(simulator, message, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SimulatorMissingError, match=message):
        runner.run(SMALL, simulator, idle=False, stall=False, seed=0, directory=tmp_path)


def test_an_unknown_simulator_is_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown simulator 'modelsim'"):
        runner.run(SMALL, "modelsim", idle=False, stall=False, seed=0, directory=tmp_path)


# -- what is required ---------------------------------------------------------------------------


def in_flight(config):
    """Return the bins of beats that meet one in flight."""
    return set(hazards(timing_of(config).distance))


def test_everything_is_required_where_it_can_happen():
    # All values of the rate field are allowed with max_rate 31.
    elsewhere = FLOATING | STREAMED | {Bin.REFUSED_RATE}
    config = CONFIGS["8 lanes"]
    assert must(config) == set(Bin) - elsewhere - {Bin.UPDATES_HELD} | in_flight(config)
    config = CONFIGS["updates"]
    assert must(config) == set(Bin) - elsewhere | in_flight(config)
    streamed = must(CONFIGS["streamed"])
    assert streamed == set(Bin) - FLOATING - RESIDENT - {Bin.UPDATES_HELD, Bin.REFUSED_RATE}


def test_what_cannot_happen_is_not_required():
    elsewhere = FLOATING | STREAMED | {Bin.UPDATES_HELD}
    missing = set(Bin) - must(CONFIGS["1 lane"]) - elsewhere
    assert missing == {Bin.UNALIGNED_BASE, Bin.UNALIGNED_COUNT, Bin.SHARED_BEAT}
    few_rows = dataclasses.replace(CONFIGS["streamed"], depth=128)
    assert must(CONFIGS["streamed"]) - must(few_rows) == {Bin.ROWS_HELD}
    coarse = UnitConfig(lanes=1, weight=Fixed(8, 0), gradient=Fixed(8, 8), depth=1, max_rate=0)
    missing = set(Bin) - must(coarse) - missing - elsewhere
    assert missing == {
        Bin.TIE_POSITIVE,
        Bin.SATURATED_HIGH,
        Bin.SATURATED_LOW,
        Bin.RESOLUTION_CHANGED,
        Bin.RATE_CHANGED,
        Bin.FLOOR_RAISED,
        Bin.REFUSED_FLOOR,
        Bin.RESET_IN_BURST,
    }
