"""The paper's table: its arms, its runs, how rates are chosen, and what is compared."""

import math
from dataclasses import replace

import pytest
import torch

from upshift import digits
from upshift.experiments import learning, residual, table1, table1_report, table1_summary, tuning
from upshift.resolution import Authors, Band

FULL = table1.EXPERIMENT.full


def cell(**changes):
    plain = {"task": "digits", "part": "test", "optimizer": "SGD", "policy": table1.PLAIN}
    return plain | {"weights": table1.FLOAT, "rate": 3, "seed": 0, "noted": [1]} | changes


def test_the_full_form_is_what_the_page_says():
    cells = table1.plan(FULL, [])
    assert (FULL.rates, len(FULL.seeds)) == ((2, 3, 4, 5, 6, 7, 8, 9, 10), 20)
    assert table1.TASKS["digits"].epochs >= 40
    arms = {(c["optimizer"], c["policy"], c["weights"]) for c in cells if c["part"] == "test"}
    quantized = {(policy, weights) for policy in table1.POLICIES for weights in table1.WEIGHTS}
    quantized -= {(table1.PLAIN, table1.FIXED)}
    assert arms == {(optimizer, *each) for optimizer in learning.OPTIMIZERS for each in quantized}
    assert len(cells) == 2 * 14 * 9 * 20
    policies = {name: make() for name, make in table1.POLICIES.items()}
    assert isinstance(policies["Authors"], Authors)
    vanish = [policies[name].vanish for name in ("Band", "Band, no vanish")]
    assert (vanish, isinstance(policies["Band"], Band)) == ([True, False], True)


def test_the_network_is_small_and_halves_what_it_sees():
    network = residual.network(1, **table1.TASKS["digits"].network)
    assert sum(p.numel() for p in network.parameters()) == 4962
    assert len([p for p in network.parameters() if p.ndim > 1]) == 6
    again = residual.network(1, **table1.TASKS["digits"].network)
    assert all(map(torch.equal, network.parameters(), again.parameters()))
    block = residual.Block(2, 5)
    torch.nn.init.zeros_(block.branch[3].weight)  # the branch then gives its last bias, zero
    x = torch.rand(1, 2, 4, 4)
    y = block(x)
    assert torch.equal(y[:, :2], x[..., ::2, ::2])
    assert y.shape == (1, 5, 2, 2)
    assert not y[:, 2:].any()


def test_the_plain_arm_is_plain_sgd():
    (row,) = table1.measure(cell())
    data, network = digits.load(0, 1437), residual.network(0, **table1.TASKS["digits"].network)
    assert len(data.train_images) == 360
    optimizer = torch.optim.SGD(network.parameters(), 2**-3)
    steps = [*learning.train(network, data, optimizer, epochs=1, batch=36, seed=0)]
    accuracy, loss = table1.assess(network, data)
    assert network.training
    assert row["accuracy"] == pytest.approx(accuracy, rel=1e-5)
    assert row["loss"] == pytest.approx(loss, rel=1e-5)
    assert row["train_loss"] == pytest.approx(sum(step.loss for step in steps) / 10, rel=1e-5)


def test_a_run_is_noted_after_some_epochs_and_counts_as_guessing_once_it_diverged():
    rows = table1.measure(cell(noted=[1, 2]))
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[1]["train_loss"] < rows[0]["train_loss"]
    rows = table1.measure(cell(rate=-60, noted=[1, 3]))
    assert [row["epoch"] for row in rows] == [1, 3]
    assert {row["accuracy"] for row in rows} == {learning.CHANCE}
    assert all(math.isinf(row["loss"]) and math.isinf(row["train_loss"]) for row in rows)


def test_images_held_out_are_training_images():
    data = digits.load(3, 1437)
    held = tuning.hold_out(data, 72, 3)
    assert (len(held.train_images), len(held.test_images)) == (288, 72)

    def images(tensor):
        return {image.numpy().tobytes() for image in tensor}

    assert images(held.train_images) | images(held.test_images) == images(data.train_images)
    assert not images(held.test_images) & images(data.test_images)
    counts = torch.bincount(held.test_labels, minlength=10)
    assert counts.min() >= 6  # stratified


def row(arm, rate, seed, accuracy, *, part="test", loss=1.0, epoch=2):
    optimizer, policy, weights = arm
    known = {"task": "digits", "part": part, "optimizer": optimizer, "policy": policy}
    known |= {"weights": weights, "rate": rate, "seed": seed, "epoch": epoch, "train_loss": 1.0}
    return known | {"accuracy": accuracy, "loss": loss, "q": 12, "zero": 1.0}


PLAIN = ("SGD", table1.PLAIN, table1.FLOAT)
QUANTIZED = ("SGD", "Band", table1.FIXED)


def rows(gain, losses=(1.0, 1.0), held=((0.5, 0.6), (0.6, 0.5))):
    """Return two arms at two rates with two seeds; `gain` is by rate and seed."""
    return [
        row(arm, rate, seed, accuracy, part=part, loss=loss, epoch=epoch)
        for which, arm in enumerate((PLAIN, QUANTIZED))
        for at, rate in enumerate((2, 5))
        for seed in (0, 1)
        for part, accuracy, loss in (
            ("test", 0.5 + 0.1 * seed + which * gain[at][seed], losses[which]),
            ("validation", held[which][at], 1.0),
        )
        for epoch in ((1, 2) if part == "test" else (2,))
    ]


def test_rates_are_averaged_before_seeds_are_compared():
    summary = table1_summary.summarize(rows(((0.01, 0.03), (0.03, 0.05))))
    (found,) = summary["comparisons"]
    mean = found["all"]["mean"]
    assert (mean["n"], mean["mean"], mean["deviation"]) == pytest.approx((2, 3, math.sqrt(2)))
    assert summary["cells"][2]["difference"]["mean"] == pytest.approx(2)
    # Two hypotheses in the table; one comparison of arms.
    first, second = (each["difference"]["p"] for each in summary["cells"][2:])
    assert [each["p"] for each in summary["cells"][2:]] == pytest.approx(
        [max(2 * second, first), 2 * second]
    )
    assert found["all"]["p"] == mean["p"]


def test_the_secondary_endpoint_has_the_largest_rates(monkeypatch):
    monkeypatch.setattr(table1_summary, "LARGEST", 1)
    (found,) = table1_summary.summarize(rows(((0.01, 0.03), (0.5, 0.5))))["comparisons"]
    assert found["largest"]["mean"]["mean"] == pytest.approx(2)


def test_tuned_arms_use_the_rate_their_validation_images_chose():
    # The plain arm chooses 2^-5, where it is as good; the quantized one 2^-2, where it gains.
    summary = table1_summary.summarize(rows(((0.01, 0.03), (-0.4, -0.4))))
    assert [each["chosen"] for each in summary["arms"]] == ["2^-5 2", "2^-2 2"]
    assert summary["comparisons"][0]["tuned"]["mean"]["mean"] == pytest.approx(2)


def test_the_lesser_loss_decides_between_equal_accuracies():
    tried = [row(PLAIN, rate, 0, 0.5, loss=loss) for rate, loss in ((2, 3.0), (3, 1.0), (4, 2.0))]
    assert tuning.choose(tried, ("optimizer", "seed")) == {("SGD", 0): 3}
    tried += [row(PLAIN, 5, 0, 0.6, loss=math.inf)]
    assert tuning.choose(tried, ("optimizer", "seed")) == {("SGD", 0): 5}
    assert tuning.share([2, 5, 5]) == "2^-5 2, 2^-2 1"


def test_losses_of_runs_that_diverged_are_not_dropped():
    summary = table1_summary.summarize(rows(((0, 0), (0, 0)), losses=(1.0, math.inf)))
    (found,) = summary["comparisons"]
    assert found["loss"]["mean"]["mean"] == table1_summary.MOST - 1
    assert [each["loss"] for each in summary["cells"]] == [1, 1, None, None]
    assert [each["diverged"] for each in summary["cells"]] == [0, 0, 2, 2]
    assert "diverged" in table1_report.report(summary)


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        (((0.0010, 0.0011), (0.0010, 0.0011)), "1 are more accurate, by less than 0.5 points: Qt"),
        (((0.1, 0.1001), (0.1, 0.1001)), "1 are more accurate: QtSGD, Band, Fixed(18, 16)."),
        (((-0.1, -0.1001), (-0.1, -0.1001)), "1 are less accurate: QtSGD"),
        (((0.1, -0.1), (0.1, -0.1)), "1 show neither a difference nor equivalence: QtSGD"),
        (((1e-5, -1e-5), (1e-5, -1e-5)), "1 are equivalent within ±0.5 points: QtSGD"),
    ],
)
def test_the_verdict_says_what_the_numbers_show(gain, said):
    assert said in table1_report.report(table1_summary.summarize(rows(gain)))


def test_what_is_not_as_known_is_noticed():
    summary = table1_summary.summarize(rows(((0, 0), (0, 0))))
    arms = {each["policy"]: each for each in summary["arms"]}
    arms[table1.PLAIN] |= {"policy": "Authors", "q": [13, 33]}
    arms["Band"] |= {"policy": "Band, no vanish", "q": [12, 12], "first_zero": 1.0}
    assert table1_summary.expect(summary) == []
    arms["Band"] |= {"q": [12, 13], "first_zero": 0.5}
    arms[table1.PLAIN]["q"] = [12, 33]
    wrong = table1_summary.expect(summary)
    assert len(wrong) == 3
    assert "a run ended at q = 12, within the band" in wrong[0]


def test_epochs_that_are_noted_end_with_the_last():
    quick = table1.plan(replace(table1.EXPERIMENT.quick, epochs=7), [])
    assert quick[0]["noted"] == [1, 2, 5, 7]
    assert quick[-1]["noted"] == [7]
