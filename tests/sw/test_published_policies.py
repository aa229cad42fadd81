"""LogLog and Authors do what the papers and their authors' code do, which devices do not."""

import io
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from upshift import equation, rational
from upshift.formats import Fixed
from upshift.optim import Authors, Band, Constant, LogLog, QtAdam, QtSGD
from upshift.resolution import Rule

DTYPES = (torch.float32, torch.float64)
VARIANTS = ("paper", "code")
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
tensors = st.lists(floats, min_size=1, max_size=8)


def epochs(policy, number):
    """Return Q_p in each of the first epochs."""
    course = [policy.Q_p]
    for _ in range(number - 1):
        policy.step()
        course.append(policy.Q_p)
    return course


# -- LogLog ---------------------------------------------------------------------------------------


def test_the_exponent_of_the_paper_is_half_of_log_log():
    policy = LogLog()
    expected = [
        math.sqrt(2.0**19) * 2.0 ** math.floor(math.log2(math.log(t + 2)) / 2) for t in range(3000)
    ]
    assert epochs(policy, 3000) == expected
    assert expected[0] == 2.0**8.5
    assert policy.raises == {"schedule": 2, "vanish": {}}
    changes = [t for t in range(1, 3000) if expected[t] != expected[t - 1]]
    assert changes == [math.ceil(math.e - 2), math.ceil(math.e**4 - 2)]


def test_the_exponent_of_the_code_lacks_the_half():
    course = epochs(LogLog("code"), 3000)
    assert course == [2.0**19 * 2.0 ** math.floor(math.log2(math.log(t + 2))) for t in range(3000)]
    assert [course[t] for t in (0, 1, 5, 6, 52, 53, 2978, 2979)] == [
        2.0**n for n in (18, 19, 19, 20, 20, 21, 21, 22)
    ]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("tau_0", [0.0, 6.5])
def test_the_push_decays_like_a_sigmoid(variant, tau_0):
    policy = LogLog(variant, tau_0=tau_0)
    for t in range(30):
        direct = {
            "paper": 1 / (1 + math.exp(2 * (t - tau_0))),
            "code": 0.5 * (1 + math.tanh(-2 * (t - tau_0))),
        }
        assert policy.push(t) == pytest.approx(direct[variant], rel=1e-12, abs=1e-15)
        assert policy.rule.push == policy.push(t)
        policy.step()
    assert LogLog(kappa=1e6).push(10**6) == 0.0
    assert LogLog(kappa=1e6, tau_0=1e6).push(0) == 1.0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_is_the_formula(dtype, variant, rng):
    policy = LogLog(variant, tau_0=2.0)
    start = rng.normal(size=500)
    w = nn.Parameter(torch.from_numpy(start).to(dtype))
    optimizer = QtSGD([w], 2**-5, resolution=policy)
    for t in range(5):
        before = w.detach().double().numpy().copy()
        w.grad = torch.from_numpy(rng.normal(size=500) / 100).to(dtype)
        optimizer.step()
        h = w.grad.double().numpy()
        x = 2.0**-5 * (h + policy.push(t) * h / np.linalg.norm(h))
        if variant == "paper":
            expected = before - np.floor(policy.Q_p * x + 0.5) / policy.Q_p
        else:
            expected = before + np.floor(-policy.Q_p * x) / policy.Q_p
        told = w.detach().double().numpy()
        rounding = 4 * torch.finfo(dtype).eps
        # Rounding of the push may turn a rare element to the neighbouring grid point.
        other = ~np.isclose(told, expected, rtol=0, atol=rounding)
        assert other.mean() < 0.02
        assert np.abs(told - expected).max() < 1.01 / policy.Q_p
        policy.step()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_push_has_the_length_that_was_asked_for(dtype):
    h = torch.tensor([3.0, 4.0, 0.0], dtype=dtype)
    for scale in (1.0, 2.0**-100, 2.0**100):  # squares of these over- and underflow in float32
        told = equation.push(h * scale, 0.5 * scale)
        assert torch.allclose(told, torch.tensor([3.3, 4.4, 0.0], dtype=dtype) * scale, rtol=1e-6)
    assert equation.push(torch.zeros(3), 1.0).tolist() == [0.0, 0.0, 0.0]
    assert equation.push(torch.zeros(0), 1.0).tolist() == []
    assert equation.push(h, 0.0) is h


def test_the_code_leads_downwards_by_half_a_step(rng):
    policy = LogLog("code", kappa=0.0)
    x = torch.from_numpy(rng.normal(size=100_000))
    error = policy.Q_p * (x - equation.quantize(x, policy.q, policy.rule))
    assert float(error.mean()) == pytest.approx(-0.5, abs=0.01)
    plain = policy.Q_p * (x - equation.quantize(x, 18))
    assert float(plain.mean()) == pytest.approx(0.0, abs=0.01)


@given(floats, st.integers(-1, 3))
def test_a_grid_that_is_no_power_of_two_is_rounded_in_float64(value, q):
    rule = LogLog().rule
    grid = 2.0**9.5 * 2.0**q
    scaled = value * grid
    floor = math.floor(scaled)
    direct = (floor + (scaled - floor >= 0.5)) / grid
    assert equation.quantize(torch.tensor([value]).double(), q, rule).item() == direct
    assert equation.quantize(torch.tensor([value]), q, rule).item() == float(np.float32(direct))


# -- Authors --------------------------------------------------------------------------------------


@given(floats, st.integers(0, 64), st.sampled_from(DTYPES))
def test_ties_go_down_exactly(value, q, dtype):
    rule = Authors().rule
    x = torch.tensor([value], dtype=dtype)
    expected = -rational.quantize(-Fraction(value), q)
    assert Fraction(equation.quantize(x, q, rule).item()) == expected


@given(tensors, st.integers(0, 40), st.sampled_from(["half up", "half down"]))
def test_the_sum_of_a_step_is_exact(values, q, rounding):
    values += [-v for v in values[:-1]]  # cancels where floating-point sums do not
    x = torch.tensor(values, dtype=torch.float64)
    sign = 1 if rounding == "half up" else -1
    exact = sum(sign * rational.quantize(sign * Fraction(v), q) * 2**q for v in values)
    assert equation.total(x, q, Rule(rounding=rounding)) == exact


def test_sums_that_no_integer_of_64_bits_holds_are_exact():
    values = torch.tensor([1e300, 1.0, -1e300, 2.0**62, 2.0**62, math.inf], dtype=torch.float64)
    assert equation.total(values, 33) == (2**63 + 1) << 33
    assert equation.total(values[:3], 33) == 1 << 33
    assert equation.total(2 * values[:1], 60) == int(2e300) << 60  # overflows when scaled
    assert equation.total(torch.zeros(0), 5) == 0


def test_steps_are_added_and_not_subtracted():
    w = nn.Parameter(torch.zeros(4))
    w.grad = torch.tensor([0.5, -0.5, 1.5, 0.25])
    QtSGD([w], 1.0, resolution=Authors(0, limit=0)).step()
    assert w.tolist() == [0.0, 1.0, -1.0, 0.0]  # w + floor(-g + 1/2)
    with torch.no_grad():
        w.zero_()
    QtSGD([w], 1.0, resolution=Constant(0)).step()
    assert w.tolist() == [-1.0, 0.0, -2.0, 0.0]  # w - floor(g + 1/2)


def test_a_sum_of_zero_raises_q_though_the_step_is_not_zero():
    policy = Authors(2, limit=9)
    w = nn.Parameter(torch.zeros(3))
    optimizer = QtSGD([w], 1.0, resolution=policy)
    w.grad = torch.tensor([1.0, -1.0, 2.0**-7])
    optimizer.step()
    assert policy.q == 7  # there the third element counts: ties go down
    assert policy.raises == {"schedule": 0, "vanish": {0: 5}}
    assert torch.equal(w.detach(), -w.grad)
    w.grad = torch.zeros(3)
    optimizer.step()
    assert policy.q == 9
    policy.step()
    assert policy.q == 9


def test_fixed_weights_cap_q_at_their_fraction():
    w = nn.Parameter(torch.zeros(2))
    policy = Authors()
    optimizer = QtSGD([w], 2**-1, resolution=policy, weight=Fixed(12, 10))
    w.grad = torch.tensor([0.5, -0.5])
    optimizer.step()
    assert policy.q == 10
    assert w.tolist() == [-0.25, 0.25]


def classify(policy, kind, steps):
    """Train on softmax cross-entropy with a bias, and return after which step q was what."""
    torch.manual_seed(4)
    model = nn.Linear(6, 5)
    optimizer = kind(model.parameters(), 2**-4, resolution=policy)
    course = []
    for _ in range(steps):
        x, labels = torch.randn(32, 6), torch.randint(5, (32,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), labels).backward()
        optimizer.step()
        course.append(policy.q)
    return course


def test_softmax_cross_entropy_drives_the_authors_rule_to_its_limit():
    ours, theirs = (classify(p, QtSGD, 60) for p in (Band(limit=33), Authors(limit=33)))
    assert theirs[-1] == 33
    assert max(ours) < 16


@pytest.mark.parametrize("kind", [QtSGD, QtAdam])
@pytest.mark.parametrize("make", [Authors, LogLog, lambda: LogLog("code", tau_0=2.0)])
def test_a_state_in_the_middle_of_training_continues_with_the_same_bits(kind, make):
    def learn(w, optimizer, numbers):
        for number in numbers:
            w.grad = torch.randn(40, generator=torch.Generator().manual_seed(number))
            optimizer.step()
            if number % 3 == 2:
                optimizer.resolution.step()

    straight = nn.Parameter(torch.linspace(-1, 1, 40))
    whole = kind([straight], 2**-4, resolution=make())
    learn(straight, whole, range(12))
    first = nn.Parameter(torch.linspace(-1, 1, 40))
    broken = kind([first], 2**-4, resolution=make())
    learn(first, broken, range(7))
    file = io.BytesIO()
    torch.save(broken.state_dict(), file)
    file.seek(0)
    second = nn.Parameter(first.detach().clone())
    resumed = kind([second], 2**-4, resolution=make())
    resumed.load_state_dict(torch.load(file, weights_only=True))
    learn(second, resumed, range(7, 12))
    assert torch.equal(straight, second)
    assert whole.resolution.state_dict() == resumed.resolution.state_dict()
    with pytest.raises(RuntimeError, match=r"belongs to another optimizer already"):
        kind([second], 2**-4, resolution=resumed.resolution)
