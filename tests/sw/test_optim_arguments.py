"""What QtSGD and QtAdam refuse, and that nothing has changed then."""

import pytest
import torch
from torch import nn

import upshift.device
from upshift.config import UnitConfig
from upshift.device import RefusedError
from upshift.formats import Fixed, float32
from upshift.optim import Authors, Band, Constant, LogLog, QtAdam, QtSGD
from upshift.resolution import Policy

CONFIG = UnitConfig(lanes=4, depth=64)


def network():
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))


def bits(model):
    return [p.detach().clone() for p in model.parameters()]


def _bound() -> Policy:
    policy = Band()
    policy.bind(None)
    return policy


BOTH = {
    "no policy": ({"resolution": 3}, TypeError, "resolution must be a policy such as Band"),
    "bound policy": ({"resolution": _bound()}, RuntimeError, "belongs to another optimizer"),
    "q beyond the fraction": (
        {"resolution": Constant(17), "weight": Fixed(18, 16)},
        ValueError,
        "q 17 exceeds the weights' 16 fraction bits",
    ),
    "negative rate": ({"lr": -1.0}, ValueError, "lr -1.0 is not allowed"),
    "rate is not a number": ({"lr": float("nan")}, ValueError, "lr nan is not allowed"),
    "negative decay": ({"weight_decay": -1}, ValueError, "weight_decay -1"),
    "too wide": ({"weight": Fixed(26, 8)}, ValueError, "26 bits: up to 25 bits allowed, or 54"),
    "nonfinite": ({"nonfinite": "ignore"}, ValueError, "'raise', 'skip' or 'leave'"),
    "mirror": ({"mirror": "often"}, ValueError, "'read' or 'model'"),
    "mirror of nothing": ({"mirror": "read"}, ValueError, "there is none"),
    "base of nothing": ({"base": 8}, ValueError, "there is none"),
    "check never": ({"check_every": 0}, ValueError, "check_every 0"),
    "check at times": ({"check_every": 1.5}, TypeError, "float"),
    "weight is a text": ({"weight": "18.16"}, TypeError, "weight '18.16' is a str"),
    "gradient is a text": ({"gradient": "16.12"}, TypeError, "gradient '16.12' is a str"),
    "device is a URL": ({"device": "rtl:"}, TypeError, "device 'rtl:' is a str"),
    "rate is infinite": ({"lr": float("inf")}, ValueError, "lr inf is not allowed"),
    "fixed weights on a grid of floats": (
        {"resolution": LogLog(), "weight": Fixed(18, 16)},
        ValueError,
        r"LogLog\('paper', t=0, q=-1\) is for floating-point weights, since Q_p is 724.0773",
    ),
}
SGD = {
    "negative momentum": ({"momentum": -0.5}, ValueError, "momentum -0.5"),
    "nesterov alone": ({"nesterov": True}, ValueError, "nesterov needs a momentum"),
}
ADAM = {
    "beta of 1": (
        {"betas": (0.9, 1)},
        ValueError,
        r"betas \(0.9, 1\) are not allowed: .* without 1",
    ),
    "negative beta": ({"betas": (-0.1, 0.9)}, ValueError, r"betas \(-0.1, 0.9\) are"),
    "one beta": ({"betas": (0.9,)}, ValueError, r"betas \(0.9,\) are not allowed: two numbers"),
    "a number for betas": ({"betas": 0.9}, ValueError, "betas 0.9 are not allowed: two numbers"),
    "negative eps": ({"eps": -1e-9}, ValueError, "eps -1e-09 is not allowed: zero or a positive"),
    "eps is not a number": ({"eps": float("nan")}, ValueError, "eps nan is not allowed"),
}
BAD = {(kind, name): (kind, *case) for kind in (QtSGD, QtAdam) for name, case in BOTH.items()}
BAD |= {(QtSGD, name): (QtSGD, *case) for name, case in SGD.items()}
BAD |= {(QtAdam, name): (QtAdam, *case) for name, case in ADAM.items()}
IDS = [f"{kind.__name__}: {name}" for kind, name in BAD]


@pytest.mark.parametrize(("kind", "arguments", "error", "message"), BAD.values(), ids=IDS)
def test_bad_arguments_are_refused_and_change_nothing(kind, arguments, error, message):
    model = network()
    before = bits(model)
    options = {"lr": 2**-3, "resolution": Band()} | arguments
    with pytest.raises(error, match=message):
        kind(model.parameters(), options.pop("lr"), **options)
    for p, was in zip(bits(model), before, strict=True):
        assert torch.equal(p, was)


@pytest.mark.parametrize(
    ("kind", "option", "message"),
    [
        (QtSGD, {"momentum": -1.0}, "momentum -1.0 is not allowed"),
        (QtSGD, {"lr": float("inf")}, "lr inf is not allowed"),
        (QtAdam, {"betas": (0.5, 1.5)}, r"betas \(0.5, 1.5\) are not allowed"),
    ],
)
def test_bad_options_of_a_group_are_refused_at_once_or_later(kind, option, message):
    model, policy = network(), Constant(4)
    groups = [{"params": model[0].parameters()}, {"params": model[2].parameters()} | option]
    before = bits(model)
    with pytest.raises(ValueError, match=message):
        kind(groups, 2**-3, resolution=policy, weight=Fixed(8, 6))
    assert all(torch.equal(a, b) for a, b in zip(bits(model), before, strict=True))
    optimizer = kind(model[0].parameters(), 2**-3, resolution=policy, weight=Fixed(8, 6))
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group({"params": model[2].parameters()} | option)
    assert len(optimizer.param_groups) == 1
    assert torch.equal(model[2].weight, before[2])


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (LogLog(), r"LogLog\('paper', t=0, q=-1\) is for .* Q_p is 724.0773 \* 2\*\*q \(no power"),
        (
            LogLog("code"),
            r"LogLog\('code'.* 524288 \* 2\*\*q and it rounds everything up and it adds",
        ),
        (Authors(), r"Authors\(q=2\) is for software only, since it rounds ties down"),
    ],
)
@pytest.mark.parametrize("kind", [QtSGD, QtAdam])
def test_a_policy_that_no_device_can_follow_is_refused_before_the_first_burst(
    kind, policy, message
):
    model = network()
    before = bits(model)
    with upshift.device.open("model:", CONFIG) as device:
        with pytest.raises(ValueError, match=message + ".*: a device takes Constant or Band$"):
            kind(model.parameters(), 2**-3, resolution=policy, device=device)
        assert device.counters().bursts == 0
        assert not device.read(0, 64).any()
    assert all(torch.equal(a, b) for a, b in zip(bits(model), before, strict=True))
    policy.bind(None)
    policy.release()


@pytest.mark.parametrize(
    ("parameter", "error", "message"),
    [
        (torch.zeros(3).half(), TypeError, "torch.float16 is not allowed"),
        (torch.zeros(3, dtype=torch.complex64), TypeError, "torch.complex64 is not allowed"),
        (torch.zeros(3).to_sparse(), TypeError, "torch.sparse_coo"),
        (torch.tensor([1.0, float("nan")]), ValueError, r"shape \(2,\) is not finite"),
    ],
)
@pytest.mark.parametrize("kind", [QtSGD, QtAdam])
def test_bad_parameters_are_refused_and_leave_the_policy_free(kind, parameter, error, message):
    policy = Band()
    with pytest.raises(error, match=message):
        kind([nn.Parameter(parameter)], 2**-3, resolution=policy, weight=Fixed(18, 16))
    policy.bind(None)


def test_formats_that_differ_from_the_devices_are_refused():
    model = network()
    with upshift.device.open("model:", CONFIG) as device:
        with pytest.raises(
            ValueError, match=r"weight format 16.12 differs from the device's 18.16"
        ):
            QtSGD(model.parameters(), 1, resolution=Band(), weight=Fixed(16, 12), device=device)
        with pytest.raises(ValueError, match=r"gradient format float32 differs"):
            QtSGD(model.parameters(), 1, resolution=Band(), gradient=float32, device=device)
        with pytest.raises(ValueError, match=r"sizes \[20, 4, 12, 3\] end at address 69"):
            QtSGD(model.parameters(), 1, resolution=Band(), device=device, base=30)


@pytest.mark.parametrize("base", [-3, 64, 1.5])
def test_addresses_that_do_not_exist_are_refused_before_anything_is_encoded(base):
    model = network()
    before = bits(model)
    with (
        upshift.device.open("model:", CONFIG) as device,
        pytest.raises((ValueError, TypeError)),
    ):
        QtSGD(model.parameters(), 1, resolution=Band(), device=device, base=base)
    assert all(torch.equal(a, b) for a, b in zip(bits(model), before, strict=True))


def test_all_groups_are_held_or_none():
    model = network()
    before = bits(model)
    groups = [{"params": [p]} for p in model.parameters()]
    with upshift.device.open("model:", CONFIG) as device:
        with pytest.raises(ValueError, match=r"sizes \[20, 4, 12, 3\] end at address 69"):
            QtSGD(groups, 1, resolution=Band(), device=device, base=30)
        assert not device.read(0, 64).any()
    assert all(torch.equal(a, b) for a, b in zip(bits(model), before, strict=True))


@pytest.mark.parametrize("lr", [-1.0, float("nan"), float("inf")])
def test_a_rate_that_turned_bad_is_refused_by_the_step(lr):
    model = network()
    optimizer = QtSGD(model.parameters(), 1, resolution=Band(), weight=Fixed(18, 16))
    optimizer.param_groups[0]["lr"] = lr
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    before = bits(model)
    with pytest.raises(ValueError, match=r"group 0: lr .* is not allowed"):
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(bits(model), before, strict=True))


@pytest.mark.parametrize(("kind", "options"), [(QtSGD, {"momentum": 0.9}), (QtAdam, {})])
def test_a_refused_burst_leaves_the_moments_as_they_were(kind, options):
    model = network()
    with upshift.device.open("model:", CONFIG) as device:
        optimizer = kind(
            model.parameters(), 2**-3, resolution=Constant(4), device=device, **options
        )
        device.raise_floor(10)
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        with pytest.raises(RefusedError, match="floor"):
            optimizer.step()
        assert not optimizer.state


def test_one_bad_parameter_keeps_all_from_being_encoded_again():
    model = network()
    optimizer = QtSGD(model.parameters(), 1, resolution=Constant(4), weight=Fixed(8, 6))
    with torch.no_grad():
        model[0].weight.add_(0.001)
        model[2].bias.fill_(float("nan"))
    before = model[0].weight.detach().clone()
    with pytest.raises(ValueError, match="not finite"):
        optimizer.step()
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize("kind", [QtSGD, QtAdam])
def test_empty_parameters_are_carried_along(kind):
    empty, full = nn.Parameter(torch.zeros(0)), nn.Parameter(torch.zeros(2))
    with upshift.device.open("model:", CONFIG) as device:
        optimizer = kind([empty, full], 2**-2, resolution=Band(), device=device)
        for p in (empty, full):
            p.grad = torch.ones_like(p)
        optimizer.step()
        assert set(optimizer.reports) == {full}
