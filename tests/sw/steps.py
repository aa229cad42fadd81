"""Optimizers of all kinds, and gradients of all sizes, for tests of how steps are taken."""

import pytest
import torch
from torch import nn

from upshift.formats import Fixed
from upshift.optim import Band, QtAdam, QtSGD

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
