"""Floating-point gradients through the compiled RTL and the benches, against exact rationals."""

import itertools

import numpy as np
import pytest
import torch

from hw import floats
from upshift import vectors
from upshift.cli import main
from upshift.config import UnitConfig
from upshift.formats import Fixed, bfloat16, float32
from upshift.optim import Band, QtSGD
from upshift.report import UpdateReport
from upshift_hw.units import timing_of
from upshift_sim import ladder
from upshift_sim.bench import runner
from upshift_sim.bench.unit_bins import required
from upshift_sim.rtl import RtlDevice

EVERY = np.arange(1 << 16)
CONFIGS = [
    UnitConfig(lanes=4, depth=64, gradient=bfloat16, max_rate=20),
    UnitConfig(lanes=2, depth=64, gradient=float32, weight=Fixed(16, 12), pipeline=8),
    UnitConfig(lanes=1, depth=5, gradient=float32, weight=Fixed(32, 4), max_rate=63, pipeline=4),
]
every_config = pytest.mark.parametrize(
    "config", CONFIGS, ids=lambda c: f"{c.gradient}-{c.weight}-{c.pipeline}"
)


def steps(words, fmt, power):
    """Floor of each gradient times 2**power plus one half; None where it is not finite.

    The gradient is an integer times a power of two, so that integers are enough.
    """
    found = []
    for word in words.tolist():
        value = floats.value(word, fmt)
        if value is None:
            found.append(None)
            continue
        scaled = 2 * value.numerator << max(power, 0)
        denominator = value.denominator << max(-power, 0)
        found.append((scaled + denominator) // (2 * denominator))
    return found


def outcome(words, weights, config, *, rate, resolution):
    """What the equation makes of raw weights, and its report but for q_min."""
    fmt, grid = config.weight, 1 << (config.weight.fraction - resolution)
    quantized = steps(words, config.gradient, resolution - rate)
    exact = [w - (d or 0) * grid for w, d in zip(weights.tolist(), quantized, strict=True)]
    new = [min(max(w, fmt.min), fmt.max) for w in exact]
    report = UpdateReport(
        elements=len(new),
        nonzero=sum(bool(d) for d in quantized),
        saturated=sum(a != b for a, b in zip(exact, new, strict=True)),
        nonfinite=quantized.count(None),
        clipped=0,
        resolution_needed=None,
    )
    return new, report


def test_every_bfloat16_gradient_through_the_compiled_rtl(cache, rng):
    weight = Fixed(18, 16)
    config = UnitConfig(lanes=2, gradient=bfloat16, depth=EVERY.size, max_rate=63, weight=weight)
    finest = config.max_resolution
    starts = [weight.max, weight.min, 0, None]
    settings = [
        (0, finest),
        (63, finest),
        (0, 0),
        (int(rng.integers(64)), int(rng.integers(finest + 1))),
    ]
    with RtlDevice(config) as device:
        for start, (rate, resolution) in zip(starts, settings, strict=True):
            words = rng.permutation(EVERY)
            weights = np.full(words.size, start or 0)
            if start is None:
                weights = rng.integers(weight.min, weight.max + 1, words.size)
            device.write(0, weights)
            report = device.update(0, words, rate=rate, resolution=resolution)
            new, expected = outcome(words, weights, config, rate=rate, resolution=resolution)
            assert device.read(0, words.size).tolist() == new
            # The largest magnitude of all is negative as well as positive: 2g needs 129 bits.
            assert report == expected._replace(resolution_needed=rate - 128)


def test_every_bfloat16_gradient_alone_needs_its_resolution(cache):
    """q_min of bursts of one element: the step is zero below it, and not at it."""
    config = UnitConfig(lanes=2, gradient=bfloat16, depth=2, max_rate=63, weight=Fixed(8, 0))
    with RtlDevice(config) as device:
        pending = [device.submit(1, [word], rate=5, resolution=0) for word in EVERY.tolist()]
        needed = [burst.result().resolution_needed for burst in pending]
    for word, q in zip(EVERY.tolist(), needed, strict=True):
        if q is None:
            assert not floats.value(word, bfloat16)
        else:
            below, at = (steps(np.array([word]), bfloat16, p)[0] for p in (q - 6, q - 5))
            assert not below, hex(word)
            assert at, hex(word)


@every_config
def test_the_rungs_without_another_simulator_are_equal(cache, seed, config):
    rungs = [*itertools.islice(ladder.climb(config, bursts=60, seed=seed), 4)]
    assert [(rung.failure, rung.missing) for rung in rungs] == [("", "")] * 4
    assert all(rung.reports > 60 < rung.updates for rung in rungs)


@every_config
def test_corners_and_random_patterns_through_the_compiled_rtl(cache, rng, config):
    fmt = config.gradient
    with RtlDevice(config) as device:
        for _ in range(40):
            rate = int(rng.integers(config.max_rate + 1))
            resolution = int(rng.integers(config.max_resolution + 1))
            words = np.array(rng.choice(floats.corners(fmt), config.depth))
            free = rng.random(words.size) < 0.8
            words[free] = rng.integers(1 << fmt.width, size=int(free.sum()))
            near = rng.random(words.size) < 0.5
            words[near] = vectors.near_steps(config, words[near], rate=rate, resolution=resolution)
            weights = rng.integers(config.weight.min, config.weight.max + 1, words.size)
            device.write(0, weights)
            report = device.update(0, words, rate=rate, resolution=resolution)
            new, expected = outcome(words, weights, config, rate=rate, resolution=resolution)
            assert device.read(0, words.size).tolist() == new
            assert report._replace(resolution_needed=None) == expected


@pytest.mark.parametrize(
    ("config", "simulator"), [(CONFIGS[1], "icarus"), (CONFIGS[0], "verilator")], ids=str
)
def test_benches_meet_all_that_floats_have(config, simulator, seed, tmp_path):
    result = runner.run(
        config, simulator, idle=True, stall=True, seed=seed, bursts=40, directory=tmp_path
    )
    assert all(result.coverage[name] for name in required(config, timing_of(config).distance))
    assert result.coverage["signalling NaN"] > 1


def test_the_optimizer_on_the_compiled_rtl_equals_the_software(cache):
    config = CONFIGS[0]

    def learn(device):
        torch.manual_seed(1)
        p = torch.nn.Parameter(torch.rand(50) - 0.5)
        options = {"device": device} if device else {"weight": config.weight, "gradient": bfloat16}
        optimizer = QtSGD([p], lr=2**-3, resolution=Band(3), momentum=0.9, **options)
        for step in range(12):
            p.grad = torch.randn(50) * 2.0**-step
            optimizer.step()
        return p.detach(), optimizer.reports[p]

    software, report = learn(None)
    with RtlDevice(config) as device:
        weights, device_report = learn(device)
    assert torch.equal(weights, software)
    assert device_report == report
    assert report.nonzero


def test_training_with_bfloat16_gradients_equals_model_and_torch(cache, capsys):
    assert main(["train", "--gradient", "bfloat16", "--epochs", "1"]) == 0
    assert ", 0 mismatches" in capsys.readouterr().out
