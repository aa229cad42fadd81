"""The vanish test of the published code, its arms, and how fast it runs away."""

import math

import numpy as np
import pytest
import torch

from upshift import digits
from upshift.experiments import forensics, forensics_report, learning
from upshift.optim import QtSGD


def cell(arm, **changes):
    return {"arm": arm, "rate": 2, "seed": 0, "epochs": 1} | changes


def test_expected_raises_equal_a_simulation_of_sums_that_vanish(rng):
    values = rng.uniform(-1000, 1000, (200_000, 10))
    values[:, -1] = -values[:, :-1].sum(1)
    zero = np.mean(np.floor(values + 0.5).sum(1) == 0)
    assert forensics.expected_raises(10) == pytest.approx(zero / (1 - zero), rel=0.03)
    assert forensics.expected_raises(3) == pytest.approx(3.0)  # p = 3/4, by hand


def test_the_reference_arm_is_plain_sgd():
    rows = forensics.measure(cell("SGD"))
    data, network = digits.load(0, 1437), digits.network(0)
    assert len(data.train_images) == 360
    optimizer = torch.optim.SGD(network.parameters(), 2**-2)
    *_, step = learning.train(network, data, optimizer, epochs=1, batch=36, seed=0)
    assert step.number == 10
    assert rows[-1]["loss"] == step.loss
    assert rows[-1]["accuracy"] == learning.evaluate(network, data)[0]
    assert rows[-1]["changed"] == 0


def test_raises_are_noted_with_their_cause():
    rows = forensics.measure(cell("SGD, sum", epochs=3))
    assert [row["q"] - 2 for row in rows] == [row["raises"] for row in rows]
    raised = [row for row in rows if row["step"] % 10]
    assert [row["raises"] for row in raised] == sorted({row["raises"] for row in raised})
    assert 0 < rows[-1]["bias_raises"] <= rows[-1]["raises"]
    assert 0 < rows[0]["changed"] <= 1


def test_the_all_zero_arm_has_no_schedule_and_the_same_limit():
    policy = forensics._all_zero()
    for _ in range(100):
        policy.step()
    assert policy.q == 2
    assert policy.observe(0, 99) == 33


def test_a_run_that_diverges_counts_as_chance():
    rows = forensics.measure(cell("SGD, sum", rate=-60, epochs=2))
    assert math.isinf(rows[-1]["loss"])
    assert rows[-1]["accuracy"] == learning.CHANCE


def test_the_policy_is_told_of_epochs():
    data, network = digits.load(0, 1437), digits.network(0)
    from upshift.optim import Band

    optimizer = QtSGD(network.parameters(), 2**-3, resolution=Band())
    assert len([*learning.train(network, data, optimizer, epochs=3, batch=180, seed=0)]) == 6
    assert optimizer.resolution.t == 2


def run(arm, rate, seed, q, accuracy):
    row = {"arm": arm, "rate": rate, "seed": seed, "step": 10, "loss": 0.5, "q": q}
    changed = 0.5 if arm.startswith("SGD") else None
    more = {"raises": 3, "bias_raises": 1, "zero": 0.5, "changed": changed, "accuracy": accuracy}
    return row | more


def test_a_test_that_does_not_run_away_is_noticed():
    def rows(sums, zeros):
        q = {"SGD, sum": sums, "SGD, all zero": zeros}
        return [
            run(arm, rate, seed, q.get(arm, 9), 0.8 + 0.01 * seed)
            for arm in forensics._ARMS
            for rate in (2, 4)
            for seed in (0, 1)
        ]

    assert forensics.expect(forensics.summarize(rows(33, 9))) == []
    assert "reached 33 in 0 of 4" in forensics.expect(forensics.summarize(rows(32, 9)))[0]
    assert forensics.expect(forensics.summarize(rows(33, 33))) == ["the all-zero test reached 33"]


def test_differences_are_paired_by_seed():
    gain = {0: 0.01, 1: 0.03}
    rows = [
        run(arm, 2, seed, 9, 0.5 + 0.2 * seed + (gain[seed] if arm == "SGD, sum" else 0))
        for arm in forensics._ARMS
        for seed in (0, 1)
    ]
    summary = forensics.summarize(rows)
    found = summary["differences"]["SGD"]["mean"]
    assert (found["mean"], found["deviation"]) == pytest.approx((2.0, math.sqrt(2)))
    assert summary["spread"]["SGD"] == pytest.approx(20.0)  # sqrt(2) times 20 / sqrt(2)
    assert "+2.00 ± 1.41 over 2 seeds" in forensics_report.report(summary)
