"""Steps in place, compiled or not, have the bits of the careful way, and change nothing else."""

import copy
import gc
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from sw.steps import SIZE, WEIGHT, gradients, kinds, train
from upshift import reference
from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift.optim import Band, Constant, LogLog, QtSGD, _direction, _fused, _native

pytestmark = pytest.mark.usefixtures("small_pieces")


@kinds
@pytest.mark.parametrize(
    "held", [(torch.float32, WEIGHT), (torch.float64, WEIGHT), (torch.float32, None)]
)
def test_compiled_eager_and_careful_steps_have_the_same_bits(kind, options, held, rng, monkeypatch):
    dtype, weight = held
    ways = [True, False, None]
    start = torch.from_numpy(rng.normal(size=SIZE) * 0.9).to(dtype)
    given = [gradients(rng, dtype) for _ in range(4)]
    results = []
    for way in ways:
        if way is None:
            monkeypatch.setattr(_fused.Fused, "step", lambda *_, **__: None)
        p, optimizer, reports = train(kind, options, given, start, 4, weight=weight, compiled=way)
        ((_, state),) = optimizer.state_dict()["state"].items() or [(0, {})]
        results.append((p, state, reports, optimizer.resolution.state_dict()))
    group = optimizer.param_groups[0]
    numbers = len(optimizer._numbers(group, {}))
    assert _native.code(optimizer._rule(group), dtype, numbers)
    for one, other in itertools.pairwise(results):
        assert torch.equal(one[0], other[0])
        assert one[1].keys() == other[1].keys()
        for name, value in one[1].items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(other[1][name])), name
        assert one[2:] == other[2:]
    assert any(report.saturated for report in results[0][2]) == (weight is not None)


@pytest.mark.parametrize("compiled", [False, True])
def test_steps_equal_the_integer_model(compiled, rng):
    start = WEIGHT.decode(rng.integers(WEIGHT.min, WEIGHT.max + 1, 1000))
    ties = rng.integers(-(2**12), 2**12, 1000) * 2.0**-12
    p = nn.Parameter(torch.from_numpy(start).float())
    p.grad = torch.from_numpy(ties).float()
    QtSGD([p], 2**-1, resolution=Constant(9), weight=WEIGHT, compiled=compiled).step()
    config = UnitConfig(weight=WEIGHT, gradient=Fixed(20, 12))
    words = WEIGHT.encode(start), config.gradient.encode(ties)
    expected, _ = reference.step(*words, config=config, rate=1, resolution=9)
    assert np.array_equal(WEIGHT.encode(p.detach().double().numpy()), expected)


def test_square_roots_are_rounded_correctly(rng):
    x = np.abs(rng.normal(size=1_000_000)) * 2.0 ** rng.integers(-148, 120, 1_000_000)
    x = x.astype(np.float32)
    x[:1000] = np.arange(1000) * np.float32(1e-45)
    for values in (x, x.astype(np.float64) * 2.0**-900):
        assert np.array_equal(_direction.root(torch.from_numpy(values)).numpy(), np.sqrt(values))


@kinds
@pytest.mark.parametrize("way", ["native", "eager", "careful"])
def test_nothing_is_allocated_anew_from_step_to_step(kind, options, way, rng):
    parameters = [nn.Parameter(torch.zeros(size)) for size in (4096, 7, 300)]
    careful = way == "careful"
    policy, weight = (LogLog(), None) if careful else (Band(), WEIGHT)
    optimizer = kind(
        parameters, 2**-3, resolution=policy, weight=weight, compiled=way == "native", **options
    )
    for p in parameters:
        p.grad = gradients(rng, torch.float32, p.numel())

    def live():
        gc.collect()
        found = [t for t in gc.get_objects() if issubclass(type(t), torch.Tensor)]
        return len(found), sum(t.numel() for t in found)

    def places():
        state = (value for p in parameters for value in optimizer.state.get(p, {}).values())
        return [t.data_ptr() for t in (*parameters, *state) if torch.is_tensor(t)]

    for _ in range(3):
        optimizer.step()
    before, tensors = places(), live()
    for _ in range(20):
        optimizer.step()
    assert live() == tensors
    assert careful or places() == before


def test_weights_that_creep_out_of_their_format_are_noticed_in_time(rng, monkeypatch):
    slopes = torch.from_numpy(rng.uniform(-1, 1, 500)).float()
    lengths = rng.integers(1, 4, 20)
    results = []
    for careful in (False, True):
        if careful:
            monkeypatch.setattr(_fused.Fused, "step", lambda *_, **__: None)
        p = nn.Parameter(torch.zeros(500))
        optimizer = QtSGD([p], 0.1, resolution=Constant(16), weight=WEIGHT, compiled=False)
        counts = []
        for number, length in enumerate(lengths):
            p.grad = slopes * length
            optimizer.step()
            counts.append(optimizer.reports[p].saturated)
            if number == 3:
                with torch.no_grad():
                    p[7] = -2.0 if slopes[7] > 0 else 2.0 - 2.0**-16  # from outside
        results.append((p, counts))
    (one, counts), (other, expected) = results
    assert torch.equal(one, other)
    assert counts == expected
    assert counts[3] == 0 < counts[4] < counts[-1]


def test_gradients_that_are_not_what_their_memory_says_are_read_as_they_are():
    p, q = nn.Parameter(torch.zeros(64)), nn.Parameter(torch.zeros(64))
    p.grad, q.grad = torch._neg_view(torch.ones(64)), torch._efficientzerotensor(64)
    QtSGD([p, q], 0.5, resolution=Constant(9), weight=WEIGHT).step()
    assert torch.equal(p, torch.full((64,), 0.5))
    assert not q.detach().any()


def test_compiled_steps_count_as_changes_for_autograd():
    p = nn.Parameter(torch.ones(64))
    optimizer = QtSGD([p], 2**-3, resolution=Band(), weight=WEIGHT, compiled=True)
    p.grad = torch.ones(64)
    loss = (p * p).sum()
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@kinds
@pytest.mark.parametrize("weight", [WEIGHT, None])
def test_small_tensors_side_by_side_have_the_same_bits(kind, options, weight, rng, monkeypatch):
    sizes = [(7,), (3, 5), (), (1000,), (2, 2, 2), (70_000,), (5,), (1,), (300,), (64,), (9,)]
    starts = [torch.from_numpy(np.asarray(rng.normal(size=size))).float() for size in sizes]
    scales = 2.0 ** rng.integers(-20, 1, (4, len(sizes)))
    given = [
        [(torch.from_numpy(np.asarray(rng.normal(size=size))) * scale).float()
         for size, scale in zip(sizes, row, strict=True)]
        for row in scales
    ]  # fmt: skip
    given[0][4].fill_(1e-11)  # vanishes, also for Adam, whose epsilon is 1e-8
    given[1][3].fill_(0.0)
    results = []
    for way in (True, False, None):
        if way is None:
            monkeypatch.setattr(_fused.Fused, "step", lambda *_, **__: None)
        parameters = [nn.Parameter(start.clone()) for start in starts]
        optimizer = kind(
            parameters,
            2**-2,
            resolution=Band(limit=12),
            weight=weight,
            compiled=bool(way),
            **options,
        )
        reports = []
        for number, step in enumerate(given):
            for p, g in zip(parameters, step, strict=True):
                p.grad = g.clone()
            optimizer.step()
            reports.append([optimizer.reports[p] for p in parameters])
            if number == 1:  # a state from elsewhere, and a change from outside
                optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
                with torch.no_grad():
                    parameters[3].add_(0.25)
        results.append((parameters, optimizer.state_dict(), reports))
    *others, (expected, state, told) = results
    assert sum(state["resolution"]["raises"]["vanish"].values()) > 0 or options.get("weight_decay")
    for parameters, its_state, its_told in others:
        assert all(torch.equal(a, b) for a, b in zip(parameters, expected, strict=True))
        assert its_told == told
        assert its_state["resolution"] == state["resolution"]
        for tensor, entries in state["state"].items():
            for name, value in entries.items():
                its_value = its_state["state"][tensor][name]
                assert torch.equal(torch.as_tensor(its_value), torch.as_tensor(value))


def test_a_learning_rate_beyond_all_measure_leaves_zeros_alone():
    p = nn.Parameter(torch.ones(64))
    p.grad = torch.zeros(64)
    optimizer = QtSGD([p], 1e36, resolution=Band(), weight=WEIGHT, compiled=True)
    optimizer.step()
    assert torch.equal(p, torch.ones(64))
