"""Errors of quantization: how they are described, and that they are those of real training."""

import math

import numpy as np
import pytest
import torch

from upshift import digits, equation
from upshift.experiments import errors, learning, whiteness
from upshift.experiments.errors import Errors
from upshift.optim import QtAdam, QtSGD


def test_errors_are_those_of_the_equation(rng):
    steps = np.append(rng.normal(0, 0.1, 1000), [-0.5, 0.5, 0.0, 1.5]) / 16
    found, moved = errors.quantize(steps, 4)
    exact = equation.quantize(torch.from_numpy(steps), 4).numpy()
    np.testing.assert_array_equal(found / 16 + steps, exact)
    np.testing.assert_array_equal(moved, exact != 0)
    assert found[-4:].tolist() == [0.5, 0.5, 0.0, 0.5]


def test_bins_include_their_upper_ends():
    edges = np.arange(1, errors.BINS + 1) / errors.BINS - 0.5
    assert errors.histogram(edges).tolist() == [1] * errors.BINS
    assert errors.histogram(np.array([0.0] * 5))[errors.BINS // 2 - 1] == 5


def test_uniform_white_errors_look_like_it(rng):
    white = rng.uniform(-0.5, 0.5, (64, 500))
    counts = errors.histogram(white)
    assert errors.effect(counts) < 0.03
    assert errors.variance(white) == pytest.approx(1, rel=0.05)
    assert errors.flatness(white) == pytest.approx(1, abs=0.03)
    assert errors.flatness(white[:, :5]) == pytest.approx(1, abs=0.25)  # chance is taken off
    for lag in errors.LAGS:
        assert abs(errors.autocorrelation(white, lag)) < 0.05


def test_errors_in_the_dead_zone_look_like_none(rng):
    dead = rng.normal(0, 0.01, (64, 50))
    assert errors.effect(errors.histogram(dead)) > 2
    assert errors.variance(dead) < 0.01


def test_errors_that_are_the_steps_themselves_are_told_from_noise(rng):
    steps = rng.normal(0, 1, (64, 500))
    (dead, none), (fine, moved) = errors.quantize(steps / 100, 3), errors.quantize(steps, 8)
    assert not none.any()
    assert moved.mean() > 0.9
    assert errors.correlation(dead, steps) == pytest.approx(-1)
    assert errors.correlation(fine, steps) == pytest.approx(0, abs=0.02)
    assert errors.correlation(dead * 0, steps) is None


def test_the_effect_does_not_depend_on_the_number_of_errors(rng):
    few, many = (
        errors.effect(errors.histogram(rng.uniform(-0.4, 0.5, n))) for n in (4000, 400_000)
    )
    assert few == pytest.approx(many, rel=0.1)
    assert errors.effect(errors.histogram(np.zeros(1000))) == pytest.approx(
        math.sqrt(errors.BINS - 1), rel=0.01
    )
    assert errors.effect(np.zeros(errors.BINS, int)) == 0


def test_memory_is_seen(rng):
    noise = rng.normal(0, 1, (600, 200))
    walk = np.empty_like(noise)
    walk[0] = noise[0]
    for t in range(1, len(noise)):
        walk[t] = 0.6 * walk[t - 1] + 0.8 * noise[t]
    assert errors.autocorrelation(walk, 1) == pytest.approx(0.6, abs=0.03)
    assert errors.autocorrelation(walk, 2) == pytest.approx(0.36, abs=0.03)
    # A first-order process has the flatness 1 - 0.6**2.
    assert errors.flatness(walk) == pytest.approx(0.64, abs=0.03)


def test_pairs_in_which_one_step_did_not_move_do_not_count():
    error = np.array([[0.4], [0.4], [-0.4], [0.1], [0.1]])
    moved = np.array([[True], [True], [False], [True], [True]])
    assert errors.autocorrelation_moved(Errors(error, moved, error), 1) == pytest.approx(
        (0.16 + 0.01) / (0.16 + 0.01)
    )
    assert errors.autocorrelation_moved(Errors(error, moved & False, error), 1) is None


def test_the_spectrum_of_what_moved_is_that_of_weights_that_always_did(rng):
    error, moved = rng.uniform(-0.5, 0.5, (64, 500)), np.ones((64, 500), bool)
    error[:, 250:] = np.sin(np.arange(64) * math.tau / 64)[:, None] / 2
    moved[7, 250:] = False
    assert errors.flatness_moved(Errors(error, moved, error)) == pytest.approx(1, abs=0.03)
    assert errors.flatness(error) < 0.9
    assert errors.flatness_moved(Errors(error, moved & False, error)) is None


@pytest.mark.parametrize("series", [np.zeros((8, 3)), np.ones((1, 3))])
def test_what_does_not_vary_has_no_spectrum(series):
    assert errors.flatness(series) is None
    assert errors.autocorrelation(series * 0, 1) is None


@pytest.mark.parametrize(
    ("optimizer", "rate", "policy"),
    [("SGD", 1, "Band"), ("Adam", 6, "Band"), ("Adam", 6, "Band, no vanish")],
)
def test_the_steps_observed_are_those_that_were_taken(optimizer, rate, policy):
    cell = {"optimizer": optimizer, "rate": rate, "policy": policy, "seed": 3}
    cell |= {"window": 12, "windows": 2}
    observed = [*whiteness.observe(cell)]
    assert len(observed) == 24

    network = digits.network(3)
    parameters = list(network.parameters())
    kind = {"SGD": QtSGD, "Adam": QtAdam}[optimizer]
    learner = kind(
        parameters,
        2.0**-rate,
        resolution=whiteness._POLICIES[policy](),
        weight=whiteness.WEIGHT,
    )
    start = [p.detach().double().numpy().ravel().copy() for p in parameters]
    steps = learning.train(network, digits.load(3, 1437), learner, epochs=3, batch=36, seed=3)
    for number, (_, seen) in enumerate(zip(steps, observed, strict=False)):
        for tensor, (p, one) in enumerate(zip(parameters, seen, strict=True)):
            quantized = equation.quantize(torch.from_numpy(one.step), one.q).double().numpy()
            start[tensor] = start[tensor] - quantized
            np.testing.assert_array_equal(
                start[tensor], p.detach().double().numpy().ravel(), err_msg=f"{number}, {tensor}"
            )


def test_rows_are_windows_and_histograms():
    cell = {"optimizer": "SGD", "rate": 1, "policy": "Constant(16)", "seed": 0}
    rows = whiteness.measure(cell | {"window": 6, "windows": 2})
    windows = [row for row in rows if row["part"] == "window"]
    assert [row["number"] for row in windows] == [0] * 6 + [1] * 6
    assert len(rows) - len(windows) == 6 * errors.BINS
    for layer in {row["layer"] for row in windows}:
        shares = [
            row["share"] for row in rows if row["part"] == "histogram" and row["layer"] == layer
        ]
        assert sum(shares) == pytest.approx(1)
    assert {row["q"] for row in windows} == {16}


def summary(dead, alive, *, step=-0.9):
    group = {"optimizer": "SGD", "effect": [dead, 0.1], "step": [step, 0.1], "lag1": [0.2, 0.1]}
    moving = {"effect": [alive, 0.1], "step": [0.0, 0.1], "lag1": [0.0, 0.1]}
    return {"moved": [group | {"from": 0.0, "to": 0.01}, group | moving | {"from": 0.5, "to": 1.0}]}


def test_a_dead_zone_that_looks_like_noise_is_noticed():
    assert whiteness.expect(summary(2.0, 0.3)) == []
    assert whiteness.expect(summary(0.5, 0.1)) == ["errors in the dead zone look uniform"]
    assert len(whiteness.expect(summary(2.0, 1.9))) == 1
    assert len(whiteness.expect(summary(2.0, 0.3, step=-0.1))) == 1
    assert len(whiteness.expect({"moved": []})) == 1
