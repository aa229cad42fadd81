"""What is done with steps instead of quantizing them, at resolutions that were recorded."""

import json
import math

import pytest
import torch

from upshift.equation import quantize
from upshift.experiments import ablation, ablation_report, ablation_summary, alternatives
from upshift.experiments.alternatives import ALTERNATIVES, Alteration
from upshift.experiments.replay import Recording, Replay
from upshift.optim import QtAdam, QtSGD
from upshift.resolution import Constant

QUICK, FULL = ablation.EXPERIMENT.quick, ablation.EXPERIMENT.full


@pytest.fixture
def random(seed):
    return torch.Generator().manual_seed(seed)


def test_the_full_form_has_every_arm_and_equal_trials():
    assert set(FULL.arms) == set(ablation.ARMS)
    assert {"quantized", "dead zone", "stochastic rounding", "constant q", "SGLD", "plain"} < set(
        FULL.arms
    )
    assert {f"{kind}, {size}" for kind in ("uniform", "Gaussian") for size in (
        "nominal", "measured")} < set(FULL.arms)  # fmt: skip
    cells = ablation.plan(FULL, [record_row(*which) for which in records(FULL)])
    trials = [cell for cell in cells if cell["part"] == "validation"]
    for arm in FULL.arms:
        for optimizer, rates in FULL.rates.items():
            mine = [c for c in trials if (c["arm"], c["optimizer"]) == (arm, optimizer)]
            assert len(mine) == len(rates) * len(FULL.schedules) * len(FULL.seeds)
    assert len({len(rates) for rates in FULL.rates.values()}) == 1


def records(settings):
    return [
        (images, optimizer, schedule, seed)
        for images in ablation.PARTS
        for optimizer in settings.rates
        for schedule in settings.schedules
        for seed in settings.seeds
    ]


def record_row(images, optimizer, schedule, seed):
    known = {"part": "record", "images": images, "optimizer": optimizer, "schedule": schedule}
    known |= {"arm": "quantized", "rate": 2, "seed": seed, "accuracy": 0.5, "loss": 1.0, "q": 9}
    return known | {"zero": 0.5, "error": None, "changes": "[[0, 2], [7, 9]]", "mean_q": 6.6}


def result_row(arm, rate, seed, accuracy, *, part="test", loss=1.0, error=None, zero=0.5):
    known = {"part": part, "images": part, "optimizer": "SGD", "schedule": "Band, no vanish"}
    known |= {"arm": arm, "rate": rate, "seed": seed, "accuracy": accuracy, "loss": loss, "q": 9}
    return known | {"zero": zero, "error": error, "changes": None, "mean_q": None}


def test_every_arm_replays_the_same_record_at_the_rate_that_it_chose():
    recorded = [record_row(*which) for which in records(QUICK)]
    tried = [
        result_row(arm, rate, seed, 0.9 if rate == (2 if arm == "plain" else 4) else 0.8,
                   part="validation")
        for arm in QUICK.arms for rate in (2, 4) for seed in QUICK.seeds
    ]  # fmt: skip
    first = ablation.plan(QUICK, [])
    assert {cell["part"] for cell in first} == {"record"}
    second = ablation.plan(QUICK, recorded)
    third = ablation.plan(QUICK, recorded + tried)
    assert (second[: len(first)], third[: len(second)]) == (first, second)
    tests = third[len(second) :]
    assert len(tests) == len(QUICK.arms) * 2
    assert {(cell["arm"], cell["rate"]) for cell in tests} == {
        (arm, 2 if arm == "plain" else 4) for arm in QUICK.arms
    }
    assert {json.dumps(c["changes_replayed"]) for c in third[len(first) :]} == {"[[0, 2], [7, 9]]"}
    constant = ablation._changes("constant q", recorded[0])
    assert constant == [[0, 7]]


def test_a_record_is_replayed():
    policy = Recording(vanish=True)
    policy.bind(None)
    needed = [1, 5, 3, None, 7, 2]
    answers = [policy.observe(number % 2, each) for number, each in enumerate(needed)]
    assert policy.changes == [(0, 2), (1, 5), (4, 7)]
    assert (policy.asked, policy.total) == (6, sum(answers))
    replay = Replay(json.loads(json.dumps(policy.changes)))
    assert [replay.observe(0, 60) for _ in range(4)] == answers[:4]
    copy = Replay([(0, 0)])
    copy.load_state_dict(replay.state_dict())
    replay.step()
    for each in (replay, copy):
        assert [each.observe(0, None) for _ in range(3)] == [*answers[4:], answers[-1]]


@pytest.mark.parametrize("make", [QtSGD, QtAdam])
def test_an_alteration_changes_the_step_and_nothing_else(make, random):
    target = torch.randn(9, 4, generator=random)
    start = torch.randn(9, 4, generator=random)
    changes = [(0, 3), (2, 5), (4, 6)]

    def trained(policy, alternative=None):
        p = start.clone().requires_grad_()
        optimizer = make([p], 2**-3, resolution=policy)
        if alternative is not None:
            Alteration(optimizer, alternative, Replay(changes), 0)
        for _ in range(8):
            optimizer.zero_grad()
            (p - target).square().sum().backward()
            optimizer.step()
        return p.detach()

    real = trained(Replay(changes))
    altered = trained(Constant(64), lambda step, q, rate, random: quantize(step, q))
    assert torch.equal(altered, real)
    plain = trained(Constant(64))
    assert torch.equal(trained(Constant(64), lambda step, q, rate, random: step), plain)
    assert not torch.equal(real, plain)


def test_an_alteration_counts():
    p = torch.zeros(3, requires_grad=True)
    optimizer = QtSGD([p], 2**-1, resolution=Constant(64))
    found = Alteration(optimizer, ALTERNATIVES["dead zone"], Constant(2), 0)
    p.grad = torch.tensor([0.1, 1.0, -0.2])
    optimizer.step()
    assert (found.elements, found.zero) == (3, 2)
    assert found.square == pytest.approx(0.05**2 + 0.1**2)
    assert p.tolist() == [0, -0.5, 0]


@pytest.mark.parametrize(
    ("name", "deviation"),
    [
        ("uniform, nominal", 2**-4 / math.sqrt(12)),
        ("Gaussian, nominal", 2**-4 / math.sqrt(12)),
        ("uniform, measured", 0.01),
        ("Gaussian, measured", 0.01),
        ("SGLD", 2**-5 / math.sqrt(12)),
    ],
)
def test_noise_has_the_deviation_that_its_name_says(name, deviation, random):
    step = torch.full((50_000,), 0.01)  # in the dead zone: the error is the whole step
    noise = ALTERNATIVES[name](step, 4, 2**-2, random) - step
    assert float(noise.std()) == pytest.approx(deviation, rel=0.02)
    assert abs(float(noise.mean())) < 5 * deviation / math.sqrt(50_000)
    largest = float(noise.abs().max()) / deviation
    assert (largest < 1.74) == name.startswith("uniform")  # sqrt(3), and far beyond


def test_the_dead_zone_has_no_grid():
    step = torch.tensor([0.124, 0.126, -0.125, -0.126, 0.3])
    assert alternatives.dead_zone(step, 2).tolist() == pytest.approx([0, 0.126, 0, -0.126, 0.3])


def test_stochastic_rounding_stays_on_the_grid_and_keeps_the_mean(random):
    step = torch.full((40_000,), -0.3)
    found = alternatives.stochastic_rounding(step, 1, random)
    assert set(found.tolist()) == {-0.5, 0.0}
    assert float(found.mean()) == pytest.approx(-0.3, abs=0.006)
    exact = torch.tensor([1.5, -2.0, 0.0])
    assert torch.equal(alternatives.stochastic_rounding(exact, 1, random), exact)


def cell(arm, **changes):
    known = {"part": "test", "images": "test", "optimizer": "SGD", "schedule": "Band", "arm": arm}
    known |= {"rate": 2, "seed": 0, "epochs": 1}
    return known | {"changes_replayed": [[0, 2], [30, 9]]} | changes


def test_the_record_replayed_is_the_run_recorded():
    (recorded,) = ablation.measure(cell("quantized", part="record"))
    changes = json.loads(recorded["changes"])
    assert [q for _, q in changes] == sorted({q for _, q in changes})
    (replayed,) = ablation.measure(cell("quantized", changes_replayed=changes))
    same = ("accuracy", "loss", "q", "zero")
    assert [replayed[name] for name in same] == [recorded[name] for name in same]


def test_arms_end_where_their_steps_lead():
    (plain,) = ablation.measure(cell("plain"))
    (noisy,) = ablation.measure(cell("Gaussian, nominal"))
    assert (plain["q"], plain["error"], noisy["q"]) == (64, None, 9)
    assert noisy["loss"] != plain["loss"]
    assert ablation.measure(cell("Gaussian, nominal")) == [noisy]  # the seed decides the noise
    (lost,) = ablation.measure(cell("SGLD", rate=-60))
    assert (lost["accuracy"], lost["loss"]) == (0.1, math.inf)


def table(gains, measured=0.01):
    """Return the rows of a result; gains are those of the quantized arm, by seed."""
    accuracy = {"quantized": gains}
    error = {"Gaussian, nominal": 0.02, "Gaussian, measured": measured}
    return [record_row("test", "SGD", "Band, no vanish", seed) for seed in (0, 1)] + [
        result_row(arm, 2, seed, 0.5 + 0.1 * seed + accuracy.get(arm, (0, 0))[seed], part=part,
                   error=error.get(arm), zero=0.1 if arm == "plain" else 0.6)
        for arm in QUICK.arms
        for part in ablation.PARTS
        for seed in (0, 1)
    ]  # fmt: skip


def test_arms_are_compared_by_seed():
    (kind,) = ablation_summary.summarize(table((0.01, 0.03)))["kinds"]
    assert [each["arm"] for each in kind["comparisons"]] == [*QUICK.arms[1:]]
    found = kind["comparisons"][0]["accuracy"]
    assert found["mean"]["mean"] == pytest.approx(2)
    assert found["p"] == pytest.approx(min(1, 4 * found["mean"]["p"]))


@pytest.mark.parametrize(
    ("gains", "said"),
    [
        ((0.1, 0.1001), "the quantized step is more accurate than Gaussian, nominal;"),
        ((-0.1, -0.1001), "the quantized step is less accurate than Gaussian, nominal;"),
        ((0.1, -0.1), "not shown to differ from, nor to be equivalent to, Gaussian, nominal;"),
        ((1e-6, -1e-6), "equivalent within ±0.5 points to Gaussian, nominal;"),
    ],
)
def test_the_verdict_says_what_the_numbers_show(gains, said):
    assert said in ablation_report.report(ablation_summary.summarize(table(gains)))


def test_what_is_not_as_known_is_noticed():
    assert ablation_summary.expect(ablation_summary.summarize(table((0, 0)))) == []
    wrong = ablation_summary.expect(ablation_summary.summarize(table((0, 0), measured=0.03)))
    assert wrong == ["SGD, Band, no vanish: the error is 0.03, not below the nominal 0.02"]
