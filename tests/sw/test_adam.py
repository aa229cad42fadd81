"""QtAdam is defined to the bit: NumPy, one rounded operation after the other, says the same."""

import copy
import io
import math

import numpy as np
import pytest
import torch
from torch import nn

from upshift.formats import Fixed
from upshift.optim import Authors, Band, Constant, QtAdam

DTYPES = {"float32": (torch.float32, np.float32), "float64": (torch.float64, np.float64)}
OPTIONS = {
    "plain": {},
    "other betas": {"betas": (0.5, 0.0), "eps": 2.0**-10},
    "eps at once": {"eps": 1e-6, "eps_before_correction": True},
    "weight decay": {"weight_decay": 0.3},
    "decoupled": {"weight_decay": 0.3, "decoupled_weight_decay": True},
    "everything": {
        "betas": (0.8, 0.99),
        "weight_decay": 0.1,
        "decoupled_weight_decay": True,
        "eps_before_correction": True,
        "maximize": True,
    },
}
both = pytest.mark.parametrize(("dtype", "real"), DTYPES.values(), ids=DTYPES)


class Oracle:
    """Adam and the quantizer in NumPy; `real` rounds numbers to the dtype."""

    def __init__(self, real, lr, q, options):
        given = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0} | options
        self.real, self.lr, self.q, self.given = real, lr, q, given
        self.t, self.m, self.v = 0, real(0), real(0)

    def direction(self, w, g):
        real, decay = self.real, self.given["weight_decay"]
        decoupled = self.given.get("decoupled_weight_decay", False)
        b1, b2 = self.given["betas"]
        if self.given.get("maximize", False):
            g = -g
        if decay and not decoupled:
            g = g + real(decay) * w
        self.t += 1
        self.m = real(b1) * self.m + real(1 - b1) * g
        self.v = real(b2) * self.v + real(1 - b2) * (g * g)
        c1, c2 = 1 - b1**self.t, 1 - b2**self.t
        eps = real(self.given["eps"])
        if self.given.get("eps_before_correction", False):
            h = (self.m / (np.sqrt(self.v) + eps)) * real(math.sqrt(c2) / c1)
        else:
            h = (self.m / real(c1)) / (np.sqrt(self.v / real(c2)) + eps)
        return h + real(decay) * w if decay and decoupled else h

    def step(self, w, g):
        x = self.real(self.lr) * self.direction(w, g) * self.real(2.0**self.q)
        floor = np.floor(x)
        return w - (floor + (x - floor >= 0.5)) * self.real(2.0**-self.q)


def gradients(rng, real, size):
    """Return gradients of very different sizes, some of whose squares vanish."""
    g = rng.normal(size=size) * 2.0 ** rng.integers(-40, 20, size)
    g[:6] = 0.0, -0.0, 1e-45, -1e-30, 1e15, -1e-20
    return g.astype(real)


@both
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("lr", [2**-3, 0.01])
def test_every_step_has_the_bits_that_numpy_gets(dtype, real, options, lr, rng):
    size = 20_001  # vectorized, and a remainder
    start = rng.normal(size=size).astype(real)
    p = nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = QtAdam([p], lr, resolution=Constant(11), **options)
    oracle, w = Oracle(real, lr, 11, options), start
    for _ in range(6):
        g = gradients(rng, real, size)
        p.grad = torch.from_numpy(g.copy())
        optimizer.step()
        w = oracle.step(w, g)
        state = optimizer.state[p]
        assert p.dtype == dtype
        assert state["step"] == oracle.t
        assert np.array_equal(state["exp_avg"].numpy(), oracle.m)
        assert np.array_equal(state["exp_avg_sq"].numpy(), oracle.v)
        assert np.array_equal(p.detach().numpy(), w)


@pytest.mark.parametrize(
    "shape",
    [
        lambda x: x[5],
        lambda x: x[:0],
        lambda x: x.view(4, 6).t(),
        lambda x: x.view(1, 2, 3, 4).to(memory_format=torch.channels_last),
        lambda x: x[::3],
    ],
)
@pytest.mark.parametrize("early", [False, True])
def test_shapes_and_memory_layouts_change_no_bit(shape, early):
    values = torch.linspace(-1, 1, 24)
    odd = nn.Parameter(shape(values.clone()))
    flat = nn.Parameter(odd.detach().clone().reshape(-1))
    for p in (odd, flat):
        optimizer = QtAdam([p], 2**-4, resolution=Band(), eps_before_correction=early)
        for number in range(1, 4):
            g = shape(values / number - 0.1)
            p.grad = g if p is odd else g.reshape(-1).clone()
            optimizer.step()
        assert set(optimizer.reports) == ({p} if p.numel() else set())
    assert torch.equal(odd.detach().reshape(-1), flat.detach())


@both
def test_square_roots_are_rounded_correctly(dtype, real, rng):
    # With betas and eps of zero the direction is g / sqrt(g * g), which is 1 if all is rounded.
    g = ((1 + rng.random(1_000_000)) * 2.0 ** rng.integers(-30, 30, 1_000_000)).astype(real)
    p = nn.Parameter(torch.zeros(len(g), dtype=dtype))
    p.grad = torch.from_numpy(g)
    QtAdam([p], 2.0**-1, (0.0, 0.0), 0.0, resolution=Constant(52)).step()
    assert torch.equal(p.detach(), torch.full_like(p, -0.5))


@pytest.mark.parametrize("decoupled", [False, True])
def test_unquantized_it_is_what_torch_has(decoupled):
    kinds = torch.optim.Adam, torch.optim.AdamW
    torch.manual_seed(2)
    start = torch.randn(50, dtype=torch.float64)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    decay = {"weight_decay": 0.1}
    quantized = QtAdam(
        [ours], 0.01, resolution=Constant(50), decoupled_weight_decay=decoupled, **decay
    )
    plain = kinds[decoupled]([theirs], 0.01, **decay)
    for _ in range(30):
        for p, optimizer in ((ours, quantized), (theirs, plain)):
            p.grad = (p.detach() ** 3 - 0.5) * torch.arange(50)
            optimizer.step()
    assert (ours - theirs).abs().max() < 1e-12
    assert (ours - start).abs().max() > 0.1


def test_fixed_weights_stay_on_their_grid_and_decay_is_quantized_with_the_step():
    fmt = Fixed(18, 16)
    p = nn.Parameter(torch.linspace(-1.5, 1.5, 64))
    optimizer = QtAdam(
        [p],
        2**-4,
        resolution=Constant(9),
        weight=fmt,
        weight_decay=0.5,
        decoupled_weight_decay=True,
    )
    p.grad = torch.zeros(64)  # only the decay is left
    before = p.detach().clone()
    optimizer.step()
    expected = before - torch.floor(before * 2.0**-5 * 2**9 + 0.5) * 2.0**-9
    assert torch.equal(p.detach(), expected)
    assert np.array_equal(fmt.decode(fmt.encode(p.detach().numpy())), p.detach().double().numpy())


@pytest.mark.parametrize("t", [2**24, 2**24 + 1, 2**40])
def test_the_step_counter_survives_where_a_float_would_not(t):
    def make():
        p = nn.Parameter(torch.linspace(-1, 1, 8))
        p.grad = torch.linspace(1, 2, 8)
        return p, QtAdam([p], 2**-4, (0.9, 1 - 2.0**-20), resolution=Band())

    p, optimizer = make()
    optimizer.step()
    optimizer.state[p]["step"] = t
    file = io.BytesIO()
    torch.save((p, optimizer.state_dict()), file)
    file.seek(0)
    loaded, state = torch.load(file)
    q, resumed = make()
    q.data.copy_(loaded.data)
    resumed.load_state_dict(state)
    resumed.sync()
    assert resumed.state[q]["step"] == t
    for pair in ((p, optimizer), (q, resumed)):
        pair[0].grad = torch.linspace(2, -1, 8)
        pair[1].step()
    assert resumed.state[q]["step"] == t + 1
    assert type(resumed.state[q]["step"]) is int
    assert torch.equal(p, q)
    assert repr(optimizer.state_dict()["state"]) == repr(resumed.state_dict()["state"])


def test_each_group_has_its_own_options_and_each_parameter_its_own_steps():
    one, other = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(4))
    groups = [{"params": [one]}, {"params": [other], "betas": (0.5, 0.5), "lr": 2**-2}]
    optimizer = QtAdam(groups, 2**-4, resolution=Constant(10))
    one.grad = torch.ones(4)
    optimizer.step()
    other.grad = -torch.ones(4)
    optimizer.step()
    assert [optimizer.state[p]["step"] for p in (one, other)] == [2, 1]
    assert one.tolist() == pytest.approx([-(2**-3)] * 4)
    assert other.tolist() == pytest.approx([2**-2] * 4)
    again = QtAdam(copy.deepcopy(groups), 2**-4, resolution=Constant(10))
    state = optimizer.state_dict()
    state["param_groups"][1]["betas"] = [0.5, 0.25]  # as a file of text has it
    again.load_state_dict(state)
    assert again.param_groups[1]["betas"] == (0.5, 0.25)


def test_a_square_that_overflows_stops_the_weight_for_good():
    p = nn.Parameter(torch.zeros(2))
    optimizer = QtAdam([p], 2**-4, resolution=Constant(10))
    for gradient in (1e20, 1.0):
        p.grad = torch.tensor([gradient, 1.0])
        optimizer.step()
        assert p[0] == 0.0
    assert p[1] != 0.0


def test_the_authors_adam_is_available():
    p = nn.Parameter(torch.tensor([0.25, -0.5]))
    start = p.detach().numpy().copy()
    g = np.array([0.25, 3e-6], np.float32)
    p.grad = torch.from_numpy(g)
    optimizer = QtAdam([p], 2**-5, eps=1e-6, eps_before_correction=True, resolution=Authors(20))
    optimizer.step()
    oracle = Oracle(np.float32, 2**-5, 20, {"eps": 1e-6, "eps_before_correction": True})
    h = oracle.direction(start, g)
    assert h[1] < 0.1  # the early epsilon shrinks small directions more
    assert np.array_equal(
        p.detach().numpy(), start + np.floor(-h * np.float32(2**15) + 0.5) / np.float32(2**20)
    )
