"""Steps in place, compiled or not, have the bits of the careful way, and change nothing else."""

import copy
import gc
import itertools
import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from upshift import native, reference
from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift.optim import Band, Constant, LogLog, QtAdam, QtSGD, _direction, _fused, _native, _pass

WEIGHT = Fixed(18, 16)
KINDS = {
    "SGD": (QtSGD, {}),
    "SGD, momentum": (QtSGD, {"momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01}),
    "SGD, nesterov": (QtSGD, {"momentum": 0.9, "nesterov": True, "maximize": True}),
    "Adam": (QtAdam, {}),
    "Adam, decays": (QtAdam, {"weight_decay": 0.1, "eps": 1e-6}),
    "Adam, decoupled": (QtAdam, {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    "Adam, early": (
        QtAdam,
        {"weight_decay": 0.1, "decoupled_weight_decay": True, "eps_before_correction": True},
    ),
}
SIZE = (1 << 17) + 37  # three pieces, no multiple of a vector
kinds = pytest.mark.parametrize(("kind", "options"), KINDS.values(), ids=KINDS)


@pytest.fixture(scope="module", autouse=True)
def small_pieces():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_pass, "_LONGEST", 1 << 16)
        yield


@pytest.fixture
def no_code_yet():
    _native.code.cache_clear()
    yield
    _native.code.cache_clear()


def gradients(rng, dtype, size=SIZE):
    """Return gradients of all sizes: ties, zeros of both signs, subnormal and large ones."""
    g = rng.normal(size=size) * 2.0 ** rng.integers(-60, 4, size)
    g[: size // 4] = rng.integers(-40, 41, size // 4) * 2.0**-9
    g[-6:] = 0.0, -0.0, 1e-45, -1e-40, 1e6, -1e6
    return torch.from_numpy(g).to(dtype)


def train(kind, options, given, start, steps, **more):
    """Return parameter, optimizer and reports after some steps."""
    p = nn.Parameter(start.clone())
    optimizer = kind([p], 2**-3, resolution=Band(limit=14), **options, **more)
    reports = []
    for number in range(steps):
        p.grad = given[number].clone()
        optimizer.param_groups[0]["lr"] = 2**-3 if number < 2 else 0.01
        optimizer.step()
        reports.append(optimizer.reports[p])
        optimizer.resolution.step()
    return p.detach(), optimizer, reports


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


def test_without_a_compiler_or_with_a_wrong_one_the_eager_pass_is_taken(
    monkeypatch, no_code_yet, rng, tmp_path
):
    start, given = torch.zeros(SIZE), [gradients(rng, torch.float32) for _ in range(2)]
    right = train(QtAdam, {}, given, start, 2, weight=WEIGHT, compiled=False)
    header = _native.header
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for what, patch in {
        "no compiler": (shutil, "which", lambda name: None),
        "one that fails": (_native, "_FLAGS", ["-fno-such-flag"]),
        "one that fuses": (_native, "_FLAGS", [*_native._FLAGS, "-ffp-contract=fast", "-mfma"]),
        "wrong formulas": (_native, "header", lambda *of: header(*of).replace("k1;", "k2;")),
        "no cache": (native, "cache_directory", lambda: Path("/dev/null/upshift")),
    }.items():
        with monkeypatch.context() as context:
            context.setattr(*patch)
            _native.code.cache_clear()
            p, used, reports = train(QtAdam, {}, given, start, 2, weight=WEIGHT, compiled=True)
            assert _native.code(used._rule(used.param_groups[0]), p.dtype, 9) is None, what
        assert torch.equal(p, right[0]), what
        assert reports == right[2], what


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


def test_rates_resolutions_and_sizes_do_not_compile_again(monkeypatch, no_code_yet, rng, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def step(size, lr, q):
        p = nn.Parameter(torch.zeros(size))
        p.grad = gradients(rng, torch.float32, size)
        optimizer = QtAdam([p], lr, resolution=Constant(q), weight=WEIGHT, compiled=True)
        for _ in range(3):
            optimizer.step()

    step(5000, 2**-3, 5)
    monkeypatch.setattr(subprocess, "run", None)
    for size, lr, q in [(5000, 2**-9, 12), (777, 0.3, 2), (100_003, 1e-3, 16), (6, 0.5, 3)]:
        step(size, lr, q)
    _native.code.cache_clear()  # as in another process
    step(5000, 2**-3, 5)
    assert len([*tmp_path.rglob("*.so")]) == 1


def test_native_code_says_what_the_direction_says():
    adam = QtAdam([nn.Parameter(torch.zeros(1))], 1, resolution=Band())
    said = _native.header(adam._rule(adam.param_groups[0]), torch.float32, 9)
    line = next(line for line in said.splitlines() if line.startswith("#define DIRECTION "))
    names = {"w": [0.0], "g": [0.5], "s0": [0.25], "s1": [4.0], "i": 0, "sqrt": math.sqrt}
    names |= {f"k{n}": k for n, k in enumerate([0.5, 0.25, 0.75, 8.0, 2.0, 0.2, None, 1.0, None])}
    for statement in line.removeprefix("#define DIRECTION ").split(";")[:-1]:
        exec(statement.replace("const T", "").replace("std::", "").strip(), names)
    assert names["direction"] == (0.25 / 2.0) / (math.sqrt(5.0 / 0.2) + 1.0)


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


def test_gradients_that_are_not_what_their_memory_says_are_read_as_they_are():
    p, q = nn.Parameter(torch.zeros(64)), nn.Parameter(torch.zeros(64))
    p.grad, q.grad = torch._neg_view(torch.ones(64)), torch._efficientzerotensor(64)
    QtSGD([p, q], 0.5, resolution=Constant(9), weight=WEIGHT).step()
    assert torch.equal(p, torch.full((64,), 0.5))
    assert not q.detach().any()


def test_native_code_is_probed_on_the_processor_whatever_torch_prefers(no_code_yet):
    p = nn.Parameter(torch.zeros(64))
    p.grad = torch.ones(64)
    with torch.device("meta"):
        QtAdam([p], 0.5, resolution=Constant(9), weight=WEIGHT).step()
    assert torch.equal(p, torch.full((64,), -0.5))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("number(word(direction) & finite)", "number(word(direction) & (LEAVES ? 0 : finite))"),
        ("if (LIMITED)", "if (LIMITED && !LEAVES)"),
        ("if (LIMITED)", "if (LIMITED && LEAVES)"),
        ("push_back(begin + j)", "push_back(j)"),
        ("high = std::max<WORD>(high, word(h))", "high = word(h)"),
        ("half = 0.5", "half = 0.25"),
        ("std::min<WORD>(word(units) & ~SIGN, 1)", "1"),
    ],
)
def test_native_code_that_errs_in_one_way_to_take_it_is_not_used(
    right, wrong, monkeypatch, no_code_yet, tmp_path
):
    library = native.library

    def spoilt(sources, *rest):
        assert right in sources["step.cpp"]
        source = sources["step.cpp"].replace(right, wrong)
        return library(sources | {"step.cpp": source}, *rest)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(native, "library", spoilt)
    plain = QtSGD([nn.Parameter(torch.zeros(1))], 1, resolution=Band())
    assert _native.code(plain._rule(plain.param_groups[0]), torch.float32, 3) is None


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


def test_a_learning_rate_beyond_all_measure_leaves_zeros_alone():
    p = nn.Parameter(torch.ones(64))
    p.grad = torch.zeros(64)
    optimizer = QtSGD([p], 1e36, resolution=Band(), weight=WEIGHT, compiled=True)
    optimizer.step()
    assert torch.equal(p, torch.ones(64))
