"""What is not finite changes nothing: it is seen, the step taken back, or weights are left."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from sw.steps import SIZE, WEIGHT, gradients, kinds
from upshift.formats import Fixed
from upshift.optim import Band, Constant, QtAdam, QtSGD, _fused, _pass

pytestmark = pytest.mark.usefixtures("small_pieces")


@kinds
@pytest.mark.parametrize("weight", [WEIGHT, Fixed(24, 16), None])
def test_weights_whose_step_is_not_finite_are_left_as_they_are(
    kind, options, weight, rng, monkeypatch
):
    sizes = [SIZE, 9, 5, 7, 6, 17_000]  # large, packed, alone
    starts = [torch.from_numpy(rng.normal(size=size)).float() for size in sizes]
    scales = [2.0**-40, 1.0, 2.0**-3, 2.0**-3]  # at first all steps vanish, but for Adam's
    given = [
        [torch.from_numpy(rng.normal(size=size) * scale).float() for size in sizes]
        for scale in scales
    ]
    places = [rng.choice(size, 5, replace=False) for size in sizes]
    bad = torch.tensor([float("nan"), -float("nan"), float("inf"), -float("inf"), 3e38])
    for number, tensor in [(0, 0), (0, 5), (1, 0), (1, 2), (3, 0), (3, 5)]:
        given[number][tensor][places[tensor]] = bad
    results, taken = [], []
    run = _fused.Fused._run

    def watched(self, part, *rest):
        taken.append(part.leaves)
        return run(self, part, *rest)

    monkeypatch.setattr(_fused.Fused, "_run", watched)
    for way in (True, False, "careful"):
        if way == "careful":
            monkeypatch.setattr(_fused.Fused, "step", lambda *_, **__: None)
        parameters = [nn.Parameter(start.clone()) for start in starts]
        optimizer = kind(
            parameters,
            2**-2,
            resolution=Band(q=0, limit=16),
            weight=weight,
            nonfinite="leave",
            compiled=way is True,
            **options,
        )
        told = []
        for number, step in enumerate(given):
            for p, g in zip(parameters, step, strict=True):
                p.grad = g.clone()
            before = [p.detach().clone() for p in parameters]
            optimizer.step()
            told.append([optimizer.reports[p] for p in parameters])
            if number in (0, 1, 3):
                assert told[-1][0].nonfinite >= 4
                assert torch.equal(parameters[0][places[0][:4]], before[0][places[0][:4]])
        results.append((parameters, optimizer.state_dict(), told))
    assert any(taken) == (weight == WEIGHT), "native code left some"
    (one, state, reports), *others = results
    assert all(p.isfinite().all() for p in one) or weight is None
    for other, its_state, its_reports in others:
        assert reports == its_reports
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
        assert repr(state["resolution"]) == repr(its_state["resolution"])
        for tensor, entries in its_state["state"].items():
            for name, value in entries.items():
                same = torch.as_tensor(state["state"][tensor][name]), torch.as_tensor(value)
                assert torch.equal(*same), name
                assert name == "exp_avg_sq" or same[0].isfinite().all()


@pytest.mark.parametrize(
    ("options", "state", "w", "g"),
    [
        # Advanced once more, what was not left would overflow, or be zero over zero.
        (
            {"weight_decay": 0.9, "decoupled_weight_decay": True},
            {},
            [1.5, 1.5, 1.5],
            [math.nan, 2.5e38, 0],
        ),
        ({"betas": (0.9, 0.4), "eps": 0.0}, {"exp_avg_sq": 2.8e-45}, [0.0], [math.nan, 1e-30, 0]),
    ],
)
def test_what_was_left_stays_so_when_the_step_is_taken_again(options, state, w, g, monkeypatch):
    results = []
    for careful in (False, True):
        if careful:
            monkeypatch.setattr(_fused.Fused, "step", lambda *_, **__: None)
        p = nn.Parameter(torch.tensor((w * 100)[:100]))
        p.grad = torch.tensor((g + [0.0] * 100)[:100])
        optimizer = QtAdam(
            [p], 2**-12, resolution=Band(q=0), weight=WEIGHT, nonfinite="leave", **options
        )
        if state:
            names = {"step": 1, "exp_avg": torch.zeros(100), "exp_avg_sq": torch.zeros(100)}
            optimizer.state[p] = names | {
                name: torch.full((100,), value) for name, value in state.items()
            }
        optimizer.step()
        results.append((p.detach(), optimizer.reports[p], optimizer.resolution.q))
    (one, *told), (other, *expected) = results
    assert torch.equal(one, other)
    assert told == expected
    assert told[0].nonfinite > 0 < told[1]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
@kinds
def test_what_could_overflow_is_done_the_careful_way(kind, options, bad, compiled, rng):
    p, q = nn.Parameter(torch.zeros(64)), nn.Parameter(torch.zeros(64))
    optimizer = kind([p, q], 2**-3, resolution=Band(), weight=WEIGHT, compiled=compiled, **options)
    p.grad = gradients(rng, torch.float32, 64)
    q.grad = p.grad.clone()
    optimizer.step()
    q.grad[5] = bad
    before = copy.deepcopy((p, q, optimizer.state_dict()))
    if np.isfinite(bad):
        assert optimizer._step_fused() is False
        assert repr(before) == repr((p, q, optimizer.state_dict()))
        optimizer.step()
    else:
        with pytest.raises(ValueError, match=r"parameter 1 .* in 1 of 64 elements; nothing"):
            optimizer.step()
        assert repr(before) == repr((p, q, optimizer.state_dict()))


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("weight", [WEIGHT, None])
@pytest.mark.parametrize(
    ("kind", "name"),
    [(QtSGD, "momentum_buffer"), (QtAdam, "exp_avg"), (QtAdam, "exp_avg_sq")],
)
def test_a_state_that_was_changed_from_outside_is_looked_at_again(kind, name, weight, compiled):
    p = nn.Parameter(torch.zeros(64))
    p.grad = torch.ones(64)
    more = {"momentum": 0.9} if kind is QtSGD else {}
    optimizer = kind([p], 2**-3, resolution=Band(), weight=weight, compiled=compiled, **more)
    optimizer.step()
    assert optimizer._step_fused()
    before = p.detach().clone()
    for value in (float("nan"), float("inf")) if name != "exp_avg_sq" else (float("nan"),):
        optimizer.state[p][name][-1] = value
        with pytest.raises(ValueError, match="not finite in 1 of 64 elements; nothing was changed"):
            optimizer.step()
        assert torch.equal(p, before)
    optimizer.state[p][name].fill_(3e38)
    assert not optimizer._step_fused()


@pytest.mark.parametrize("compiled", [True, False])
def test_what_was_known_of_a_state_is_forgotten_when_weights_are_left(compiled):
    p = nn.Parameter(torch.zeros(64))
    optimizer = QtSGD(
        [p], 2**-3, resolution=Constant(9), weight=WEIGHT, momentum=1.2, compiled=compiled
    )
    for nonfinite, g in (("raise", 1.0), ("leave", 3e38), ("raise", 1.0)):
        optimizer.nonfinite = nonfinite
        p.grad = torch.full((64,), g)
        if nonfinite == "leave" or not p.detach().any():
            optimizer.step()
            continue
        with pytest.raises(ValueError, match="not finite in 64 of 64"):
            optimizer.step()


@pytest.mark.parametrize("bad", [float("nan"), -float("nan"), float("inf"), 1e30, 100.0])
def test_steps_that_were_tried_are_taken_back(bad, rng, monkeypatch):
    undone = []
    undo = _pass.undo
    monkeypatch.setattr(_pass, "undo", lambda *what: undone.append(undo(*what)))
    sizes = [70_000, 9, 5, 7, 6, 30, 20_000, 70_001, 4]  # large, packed, alone, large
    starts = [torch.from_numpy(rng.normal(size=size)).float() for size in sizes]
    given = [torch.from_numpy(rng.normal(size=size) * 2.0**-9).float() for size in sizes]
    given[1][3] = -(2.0**4)  # leaves the format
    results = []
    for way in (True, False):
        parameters = [nn.Parameter(start.clone()) for start in starts]
        optimizer = QtSGD(parameters, 1.0, resolution=Band(), weight=WEIGHT, compiled=way)
        for p, g in zip(parameters, given, strict=True):
            p.grad = g.clone()
        parameters[7].grad[70_000] = bad  # in the last piece
        before = copy.deepcopy((parameters, optimizer.state_dict()))
        if np.isfinite(bad):
            optimizer.step()
            results.append((parameters, optimizer.state_dict(), list(optimizer.reports.values())))
        else:
            with pytest.raises(ValueError, match=r"parameter 7 .* in 1 of 70001 elements; nothing"):
                optimizer.step()
            assert repr(before[1]) == repr(optimizer.state_dict())
            assert all(torch.equal(a, b) for a, b in zip(before[0], parameters, strict=True))
            assert not optimizer.reports
        assert undone
        undone.clear()
    if results:
        (one, *told), (other, *told_eagerly) = results
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
        assert told == told_eagerly
        assert told[1][1].saturated
