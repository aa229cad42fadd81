"""Resolution policies: the published band, the vanish rule and what may not happen to q."""

import copy
import json
import math
import pickle

import numpy as np
import pytest
import torch

from upshift import equation
from upshift.resolution import (
    Authors,
    Band,
    Constant,
    LogLog,
    Policy,
    resolution_needed,
)


def loop(h, lr, start=-90, highest=120):
    """Return q_min by the paper's loop: raise q while the whole quantized step is zero."""
    for q in range(start, highest):
        if np.any(np.floor(np.ldexp(h * lr, q) + 0.5)):
            return q
    return None


@pytest.mark.parametrize(
    ("t", "infimum", "supremum"),
    [(0, 0.409, 10.409), (5, 8.296, 11.154), (20, 10.578, 11.487), (99, 11.578, 11.776)],
)
def test_the_band_has_the_published_values(t, infimum, supremum):
    band = Band()
    assert band.infimum(t) == pytest.approx(infimum, abs=1e-3)
    assert band.supremum(t) == pytest.approx(supremum, abs=1e-3)


def test_the_schedule_takes_the_lower_edge_rounded_up():
    band = Band(vanish=False)
    course = [band.q]
    for _ in range(60):
        band.step()
        course.append(band.q)
    expected = [max(2, math.ceil(band.infimum(t))) for t in range(61)]
    assert course == expected
    assert course == sorted(course)
    assert band.raises == {"schedule": course[-1] - 2, "vanish": {}}


def test_the_limit_caps_schedule_and_vanish_rule():
    band = Band(limit=5)
    for _ in range(20):
        band.step()
    assert band.q == 5
    assert Band(limit=5).observe(0, 9) == 5


def test_without_a_limit_the_cap_is_the_upper_edge_or_the_fraction_bits():
    free, fixed = Band(), Band()
    free.bind(None)
    fixed.bind(7)
    assert free.observe(0, 60) == math.ceil(free.supremum(0)) == 11
    assert fixed.observe(0, 60) == 7


def test_vanish_raises_for_later_tensors_and_steps_and_is_counted():
    band = Band()
    assert [band.observe(0, 1), band.observe(1, 6), band.observe(2, 3)] == [2, 6, 6]
    assert band.observe(0, None) == 6
    assert band.observe(1, 8) == 8
    assert band.raises == {"schedule": 0, "vanish": {1: 6}}


def test_vanish_can_be_switched_off():
    band = Band(vanish=False)
    assert band.observe(0, 9) == 2
    assert band.raises["vanish"] == {}


def test_per_tensor_resolution_raises_that_tensor_alone():
    band = Band(per_tensor=True)
    assert [band.observe(0, 6), band.observe(1, 3), band.observe(0, 1)] == [6, 3, 6]
    assert band.q == 2
    for _ in range(4):
        band.step()
    assert band.observe(1, None) == band.q > 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_closed_form_is_the_papers_loop(dtype, rng):
    special = [0.0, 1.0, -1.0, 0.75, -0.75, 2.0**-30, -(2.0**-30), 1.5 * 2.0**20, -(2.0**20)]
    for _ in range(1500):
        size = rng.integers(1, 6)
        if rng.random() < 0.5:
            h = rng.choice(special, size)
        else:
            h = rng.normal(size=size) * 2.0 ** rng.integers(-60, 60)
        h = h.astype(dtype)
        k = int(rng.integers(0, 21))
        expected = loop(h.astype(np.float64), 2.0**-k)
        assert resolution_needed(float(h.min()), float(h.max()), k) == expected
        assert equation.scale(torch.from_numpy(h), 2.0**-k).needed == expected


def test_the_smallest_float_at_the_smallest_rate():
    smallest = float(np.float32(1e-45))
    assert resolution_needed(0.0, smallest, 20) == 168
    assert resolution_needed(-smallest, 0.0, 20) == 169


@pytest.mark.parametrize(
    ("policy", "fresh"),
    [
        (Constant(7), Constant(1)),
        (Band(3, limit=9, n=5, C=1e-5, beta=3.0), Band(1)),
        (Band(per_tensor=True), Band()),
        (Authors(3, limit=9), Authors()),
        (LogLog("code", kappa=0.5, tau_0=3.0), LogLog()),
    ],
)
def test_state_survives_json_and_pickle(policy, fresh):
    policy.observe(4, 6, lambda q: q > 5)
    policy.step()
    state = policy.state_dict()
    fresh.load_state_dict(pickle.loads(pickle.dumps(state)))
    assert fresh.state_dict() == state
    fresh.load_state_dict(json.loads(json.dumps(state)))
    assert fresh.state_dict() == state
    fresh.observe(4, 9, lambda q: q > 7)
    assert policy.state_dict() == state  # nothing is shared
    again = copy.deepcopy(policy)
    assert [again.observe(4, n, lambda q: 1) for n in (1, 8)] == [
        policy.observe(4, n, lambda q: 1) for n in (1, 8)
    ]
    assert again.state_dict() == policy.state_dict()


def test_state_of_another_policy_is_refused():
    with pytest.raises(ValueError, match="'Constant' policy into a Band"):
        Band().load_state_dict(Constant(3).state_dict())
    with pytest.raises(ValueError, match="keys"):
        Constant(1).load_state_dict({"policy": "Constant", "q": 3})


def test_state_beyond_the_weights_is_refused_and_changes_nothing():
    policy = Constant(4)
    policy.bind(8)
    with pytest.raises(ValueError, match="q 9 exceeds the weights' 8 fraction bits"):
        policy.load_state_dict(Constant(9).state_dict())
    assert policy.q == 4


def test_a_policy_belongs_to_one_optimizer():
    policy = Band()
    policy.bind(None)
    with pytest.raises(RuntimeError, match=r"Band\(q=2\) belongs to another optimizer"):
        policy.bind(None)
    copy.deepcopy(policy).bind(None)
    policy.release()
    policy.bind(None)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Constant(-1), ValueError, "q -1 is not allowed: 0 to 64"),
        (lambda: Constant(2.5), TypeError, "q must be an int, not 2.5"),
        (lambda: Constant(True), TypeError, "q must be an int"),
        (lambda: Band(5, limit=4), ValueError, "limit 4 is not allowed: 5 to 64"),
        (lambda: Band(n=0), ValueError, "n 0 is not allowed"),
        (lambda: Band(C=-1.0), ValueError, "C -1.0 is not allowed"),
        (lambda: Band(beta=-1.0), ValueError, "beta -1.0 is not allowed"),
        (lambda: Authors(65), ValueError, "q 65 is not allowed: 0 to 64"),
        (lambda: Authors(34), ValueError, "limit 33 is not allowed: 34 to 64"),
        (lambda: Authors(17).bind(16), ValueError, "q 17 exceeds the weights' 16"),
        (lambda: Authors().observe(0, 3), TypeError, "the sum of the step"),
        (lambda: LogLog("book"), ValueError, "variant 'book' is not allowed: 'paper' or 'code'"),
        (lambda: LogLog(kappa=-1.0), ValueError, "kappa -1.0 is not allowed: zero or a positive"),
        (lambda: LogLog(tau_0=math.nan), ValueError, "tau_0 nan is not allowed: a finite number"),
        (lambda: Constant(9).bind(8), ValueError, "q 9 exceeds the weights' 8"),
        (lambda: Band(limit=20).bind(16), ValueError, "limit 20 exceeds the weights' 16"),
    ],
)
def test_bad_input_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"q": -3}, ValueError, "q -3 is not allowed"),
        ({"q": "x"}, TypeError, "q must be an int"),
        ({"limit": 24}, ValueError, "limit 24 exceeds the weights' 16"),
        ({"t": -9}, ValueError, "t -9 is not allowed"),
        ({"vanish": "no"}, TypeError, "vanish must be True or False, not 'no'"),
        ({"C": math.inf}, ValueError, "C inf is not allowed"),
        ({"tensor_q": {0: 17}}, ValueError, "q 17 exceeds the weights' 16"),
        ({"tensor_q": {"a": 3}}, ValueError, "invalid literal"),
    ],
)
def test_an_impossible_state_is_refused_and_changes_nothing(change, error, message):
    policy = Band(4)
    policy.bind(16)
    before = policy.state_dict()
    with pytest.raises(error, match=message):
        policy.load_state_dict(Band(5).state_dict() | change)
    assert policy.state_dict() == before


@pytest.mark.parametrize(
    ("policy", "change", "error", "message"),
    [
        (Authors(3), {"limit": 2}, ValueError, "limit 2 is not allowed: 3 to 64"),
        (Authors(3), {"q": 40}, ValueError, "limit 33 is not allowed: 40 to 64"),
        (LogLog(), {"t": -1}, ValueError, "t -1 is not allowed"),
        (LogLog(), {"q": 1}, ValueError, "q 1 is not allowed in epoch 0: -1"),
        (LogLog(), {"variant": "book"}, ValueError, "variant 'book'"),
        (LogLog(), {"kappa": None}, TypeError, "None"),
    ],
)
def test_an_impossible_state_of_a_software_policy_is_refused(policy, change, error, message):
    before = policy.state_dict()
    with pytest.raises(error, match=message):
        policy.load_state_dict(before | change)
    assert policy.state_dict() == before


def test_the_first_epoch_begins_with_the_optimizer_and_respects_its_weights():
    narrow, wide = Band(beta=0.0), Band(beta=0.0)
    narrow.bind(8)
    wide.bind(None)
    assert (narrow.q, wide.q) == (8, 11)
    assert wide.raises == {"schedule": 9, "vanish": {}}


@pytest.mark.parametrize(
    ("policy", "independent"),
    [
        (Constant(3), True),
        (Band(vanish=False), True),
        (Band(per_tensor=True), True),
        (Band(q=5, limit=9), False),
        (Band(q=9, limit=9), True),
    ],
)
def test_a_tensor_asked_before_its_turn_gets_what_it_gets_in_its_turn(rng, policy, independent):
    assert policy.independent(0) is independent
    assert Policy.independent(policy, 0) is False, "a policy has to say so itself"
    needed = [int(n) for n in rng.integers(0, 20, 6)]
    early, in_turn = copy.deepcopy(policy), copy.deepcopy(policy)
    order = rng.permutation(6) if independent else range(6)
    first = {int(n): early.observe(int(n), needed[n]) for n in order}
    again = {n: early.observe(n, needed[n]) for n in first}
    expected = {n: in_turn.observe(n, needed[n]) for n in range(6)}
    assert first == expected
    assert early.state_dict() == in_turn.state_dict()
    if independent:
        assert again == expected
