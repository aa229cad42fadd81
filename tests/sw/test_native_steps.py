"""Native code of a step is made once, of the direction's formulas, and used only if it is right."""

import math
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch import nn

from sw.steps import SIZE, WEIGHT, gradients, train
from upshift import native
from upshift.optim import Band, Constant, QtAdam, QtSGD, _native

pytestmark = pytest.mark.usefixtures("small_pieces")


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
