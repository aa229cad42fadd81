"""QtSGD and QtAdam as torch optimizers: generated from tables of good and bad inputs."""

import copy
import io
import math
import pickle

import numpy as np
import pytest
import torch
from torch import nn

import upshift.device
from upshift.config import UnitConfig
from upshift.formats import Fixed, bfloat16
from upshift.optim import Band, Constant, QtAdam, QtSGD

CONFIG = UnitConfig(lanes=4, depth=64)

SGD = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "dampening": {"momentum": 0.75, "dampening": 0.25},
    "nesterov": {"momentum": 0.5, "nesterov": True},
    "weight decay": {"weight_decay": 0.125},
    "maximize": {"maximize": True, "momentum": 0.5},
    "everything": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01, "maximize": True},
}
ADAM = {
    "plain": {},
    "other betas": {"betas": (0.5, 0.75), "eps": 0.125},
    "eps at once": {"eps": 1e-6, "eps_before_correction": True},
    "weight decay": {"weight_decay": 0.125},
    "everything": {"weight_decay": 0.01, "decoupled_weight_decay": True, "maximize": True},
}
GOOD = {f"SGD, {name}": (QtSGD, options) for name, options in SGD.items()}
GOOD |= {f"Adam, {name}": (QtAdam, options) for name, options in ADAM.items()}
STATEFUL = pytest.mark.parametrize(
    ("kind", "options"), [(QtSGD, {"momentum": 0.5}), (QtAdam, {})], ids=["SGD", "Adam"]
)
BOTH = pytest.mark.parametrize("kind", [QtSGD, QtAdam])
FORMATS = {
    "float weights": {},
    "fixed weights": {"weight": Fixed(18, 16)},
    "fixed both": {"weight": Fixed(18, 16), "gradient": Fixed(16, 12)},
    "bfloat16 gradients": {"weight": Fixed(20, 16), "gradient": bfloat16},
}


def network(dtype=torch.float32):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).to(dtype)


def learn(model, optimizer, steps, start=0):
    """Take some steps that depend on nothing but their numbers."""
    dtype = next(model.parameters()).dtype
    for number in range(start, start + steps):
        x = torch.randn(6, 5, generator=torch.Generator().manual_seed(number)).to(dtype)
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
        if number % 5 == 4:
            optimizer.resolution.step()


def bits(model):
    return [p.detach().clone() for p in model.parameters()]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def nothing_changed(model, optimizer):
    """Return a function that is true as long as parameters and state are what they are now."""
    before, state = bits(model), copy.deepcopy(optimizer.state_dict())

    def unchanged():
        now = optimizer.state_dict()
        return same(before, bits(model)) and repr(now) == repr(state)

    return unchanged


@pytest.mark.parametrize("options", SGD.values(), ids=SGD)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_direction_is_what_torch_multiplies_by_the_learning_rate(options, dtype):
    # At q = 64 every step of this size lies on the grid already, so nothing is rounded. Torch may
    # fuse products into sums, ours are IEEE operations: the same bits where products are exact.
    factors = [options.get("weight_decay", 0), 1 - options.get("dampening", 0)]
    factors += [options["momentum"]] if options.get("nesterov") else []
    exact = all(math.frexp(factor)[0] in (0, 0.5) for factor in factors)
    ours, theirs = network(dtype), network(dtype)
    quantized = QtSGD(ours.parameters(), 2**-4, resolution=Constant(64), **options)
    plain = torch.optim.SGD(theirs.parameters(), 2**-4, **options)
    for number in range(8):
        x = torch.randn(6, 5, generator=torch.Generator().manual_seed(number)).to(dtype)
        for model, optimizer in ((ours, quantized), (theirs, plain)):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
        if dtype == torch.float32 and exact:
            assert same(bits(ours), bits(theirs))
    for a, b in zip(bits(ours), bits(theirs), strict=True):
        if exact:
            assert (a - b).abs().max() <= 2.0**-58 * (dtype == torch.float64)
        else:
            torch.testing.assert_close(a, b, rtol=2e-4 if dtype == torch.float32 else 1e-12, atol=0)


@pytest.mark.parametrize("each", [False, True], ids=["one q", "q of each tensor"])
@pytest.mark.parametrize("formats", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize(("kind", "options"), GOOD.values(), ids=GOOD)
def test_a_state_dict_in_the_middle_of_training_continues_with_the_same_bits(
    kind, options, formats, each
):
    def make(model):
        policy = Band(per_tensor=each)
        return kind(model.parameters(), 2**-5, resolution=policy, **options, **formats)

    straight = network()
    whole = make(straight)
    learn(straight, whole, 12)

    broken = network()
    first = make(broken)
    learn(broken, first, 7)
    file = io.BytesIO()
    torch.save({"model": broken.state_dict(), "optimizer": first.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed = network()
    second = make(resumed)
    resumed.load_state_dict(saved["model"])
    second.load_state_dict(saved["optimizer"])
    learn(resumed, second, 5, start=7)

    assert same(bits(straight), bits(resumed))
    assert whole.resolution.state_dict() == second.resolution.state_dict()
    assert bool(whole.resolution.tensor_q) == each


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
@pytest.mark.parametrize("kind", [QtSGD, QtAdam])
def test_parameters_on_a_gpu_get_the_same_bits(kind):
    for formats in FORMATS.values():
        for options in (SGD if kind is QtSGD else ADAM).values():
            models = network(), network().cuda()
            generator = torch.Generator().manual_seed(0)
            optimizers = [
                kind(model.parameters(), 2**-5, resolution=Band(), **options, **formats)
                for model in models
            ]
            for _ in range(6):
                for pair in zip(*(model.parameters() for model in models), strict=True):
                    g = torch.randn(pair[0].shape, generator=generator)
                    for p in pair:
                        p.grad = g.to(p.device)
                for optimizer in optimizers:
                    optimizer.step()
                    optimizer.resolution.step()
            assert same(bits(models[0]), [p.cpu() for p in bits(models[1])])
            reports = [list(optimizer.reports.values()) for optimizer in optimizers]
            assert reports[0] == reports[1]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
@STATEFUL
def test_copies_train_on_with_the_same_bits(duplicate, kind, options):
    model = network()
    optimizer = kind(model.parameters(), 2**-5, resolution=Band(), weight=Fixed(18, 16), **options)
    learn(model, optimizer, 4)
    twin, twin_optimizer = duplicate((model, optimizer))
    learn(model, optimizer, 4, start=4)
    learn(twin, twin_optimizer, 4, start=4)
    assert same(bits(model), bits(twin))
    assert twin_optimizer.resolution is not optimizer.resolution
    assert twin_optimizer.resolution.state_dict() == optimizer.resolution.state_dict()


@pytest.mark.parametrize("mirror", ["read", "model"])
@pytest.mark.parametrize(("kind", "options"), GOOD.values(), ids=GOOD)
def test_the_model_device_gives_the_same_bits(kind, options, mirror):
    soft, hard = network(), network()
    alone = kind(
        soft.parameters(),
        2**-5,
        resolution=Band(),
        weight=CONFIG.weight,
        gradient=CONFIG.gradient,
        **options,
    )
    learn(soft, alone, 11)
    with upshift.device.open("model:", CONFIG) as device:
        driven = kind(
            hard.parameters(),
            2**-5,
            resolution=Band(),
            device=device,
            base=3,
            mirror=mirror,
            check_every=2,
            **options,
        )
        learn(hard, driven, 11)
        held = CONFIG.weight.decode(device.read(3, 39))
    assert same(bits(soft), bits(hard))
    assert np.array_equal(held, torch.cat([p.ravel() for p in bits(hard)]).numpy())
    assert list(alone.reports.values()) == list(driven.reports.values())
    assert alone.resolution.state_dict() == driven.resolution.state_dict()


def test_groups_share_one_resolution_and_have_their_own_rates():
    model = network()
    optimizer = QtSGD(
        [{"params": model[0].parameters(), "lr": 2**-3}, {"params": model[2].parameters()}],
        2**-6,
        resolution=Constant(10),
    )
    before = bits(model)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    steps = [float((a - b).max()) for a, b in zip(before, bits(model), strict=True)]
    assert steps == pytest.approx([2**-3, 2**-3, 2**-6, 2**-6], abs=1e-7)


@BOTH
def test_groups_added_later_are_encoded_and_packed_behind(kind):
    model = network()
    with upshift.device.open("model:", CONFIG) as device:
        optimizer = kind(model[0].parameters(), 2**-4, resolution=Band(), device=device)
        optimizer.add_param_group({"params": model[2].parameters()})
        learn(model, optimizer, 3)
        held = CONFIG.weight.decode(device.read(0, 39))
        assert np.array_equal(held, torch.cat([p.ravel() for p in bits(model)]).numpy())
        big = nn.Parameter(torch.zeros(30))
        with pytest.raises(ValueError, match=r"sizes \[20, 4, 12, 3, 30\] end at address 69"):
            optimizer.add_param_group({"params": [big]})
        assert len(optimizer.param_groups) == 2
        learn(model, optimizer, 1)


@BOTH
def test_schedulers_closures_clipping_and_scalers_work(kind):
    model = network()
    optimizer = kind(model.parameters(), 2**-6, resolution=Band(), weight=Fixed(18, 16))
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    x = torch.ones(2, 5)

    def closure():
        optimizer.zero_grad()
        loss = model(x).square().sum()
        loss.backward()
        return loss

    first = optimizer.step(closure)
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 2**-7
    assert closure() < first

    optimizer.zero_grad()
    scaler.scale(model(x).square().sum()).backward()
    scaler.unscale_(optimizer)
    norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    assert norm > 1.0
    before = bits(model)
    scaler.step(optimizer)
    scaler.update()
    assert not same(before, bits(model))

    for p in model.parameters():
        p.grad.fill_(float("inf"))
    before = bits(model)
    scaler.unscale_(optimizer)
    scaler.step(optimizer)  # the scaler skips this step itself
    assert same(before, bits(model))


def test_parameters_are_put_on_the_grid_at_once_and_after_any_change():
    model = network()
    optimizer = QtSGD(model.parameters(), 2**-4, resolution=Constant(4), weight=Fixed(8, 6))

    def on_grid():
        return all(torch.equal(p * 64, (p * 64).round()) for p in bits(model))

    assert on_grid()
    with torch.no_grad():
        model[0].weight.add_(0.001)
    assert not on_grid()
    learn(model, optimizer, 1)
    assert on_grid()
    model[0].weight.data += 0.001  # not counted by torch
    optimizer.sync()
    assert on_grid()


def test_a_changed_parameter_is_written_to_the_device():
    model = network()
    with upshift.device.open("model:", CONFIG) as device:
        optimizer = QtSGD(model.parameters(), 2**-4, resolution=Constant(8), device=device)
        with torch.no_grad():
            model[2].bias.fill_(0.5)
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()
        assert (device.read(36, 3) == 2**15).all()


@STATEFUL
def test_zero_rate_and_missing_gradients_issue_no_burst(kind, options):
    model = network()
    with upshift.device.open("model:", CONFIG) as device:
        optimizer = kind(model.parameters(), 0.0, resolution=Band(), device=device, **options)
        optimizer.step()  # no gradients at all
        learn(model, optimizer, 1)
        assert device.counters().bursts == 0
        assert len(optimizer.state) == 4  # moments go on
        optimizer.param_groups[0]["lr"] = 2**-3
        model[0].weight.grad = None
        optimizer.step()
        assert device.counters().bursts == 3
        assert set(optimizer.reports) == set(list(model.parameters())[1:])


@STATEFUL
def test_bad_gradients_change_nothing(kind, options):
    model = network()
    optimizer = kind(model.parameters(), 2**-4, resolution=Band(), **options)
    learn(model, optimizer, 2)
    model[2].bias.grad[1] = float("nan")
    unchanged = nothing_changed(model, optimizer)
    with pytest.raises(ValueError, match=r"parameter 3 \(shape \(3,\)\) is not finite in 1 of 3"):
        optimizer.step()
    assert unchanged()
    optimizer.nonfinite = "skip"
    optimizer.step()
    assert unchanged()
    model[2].bias.grad = torch.zeros(3).to_sparse()
    with pytest.raises(TypeError, match="sparse"):
        optimizer.step()
    assert unchanged()


@STATEFUL
@pytest.mark.parametrize("gradient", [Fixed(16, 12), bfloat16])
@pytest.mark.parametrize("stream", [False, True])
def test_weights_are_left_on_a_device_as_without_one(kind, options, gradient, stream):
    config = UnitConfig(lanes=4, depth=64, gradient=gradient)
    bad = torch.tensor([float("nan"), float("-inf"), 1e39])
    alone, held = network(), network()
    for layer in (alone[2], held[2]):
        layer.bias.register_hook(lambda g: torch.where(g > 0, g, bad))
    with upshift.device.open("model:", config) as device:
        both = [
            kind(
                model.parameters(),
                2**-4,
                resolution=Band(per_tensor=True),
                weight=config.weight,
                gradient=gradient,
                nonfinite="leave",
                device=where,
                **options,
            )
            for model, where in ((alone, None), (held, device))
        ]
        for number in range(5):
            x = torch.randn(6, 5, generator=torch.Generator().manual_seed(number))
            for model, optimizer in zip((alone, held), both, strict=True):
                optimizer.zero_grad()
                loss = model(x).square().sum()
                if stream and optimizer is both[1]:
                    with optimizer.streaming():
                        loss.backward()
                else:
                    loss.backward()
                optimizer.step()
        theirs = config.weight.decode(device.read(0, 39))
    assert all(
        torch.equal(a, b) for a, b in zip(alone.parameters(), held.parameters(), strict=True)
    )
    assert np.array_equal(torch.cat([p.detach().ravel() for p in held.parameters()]), theirs)
    reports = [list(optimizer.reports.values()) for optimizer in both]
    assert reports[0] == reports[1]
    assert reports[0][3].nonfinite > 0 == reports[0][0].nonfinite
    assert repr(both[0].state_dict()["state"]) == repr(both[1].state_dict()["state"])


@BOTH
def test_a_rate_that_is_no_power_of_two_is_refused_before_the_first_burst(kind):
    model = network()
    with upshift.device.open("model:", CONFIG) as device:
        optimizer = kind(
            [
                {"params": model[0].parameters()},
                {"params": model[2].parameters(), "lr": 0.1},
            ],
            2**-3,
            resolution=Band(),
            device=device,
        )
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        unchanged = nothing_changed(model, optimizer)
        with pytest.raises(ValueError, match=r"group 1: .* 0.1: .* 0.0625 .* and 0.125"):
            optimizer.step()
        assert unchanged()
        assert device.counters().bursts == 0
        optimizer.param_groups[1]["lr"] = 2.0
        with pytest.raises(ValueError, match=r"powers of two from 2\*\*-31 to 1"):
            optimizer.step()


def test_loading_a_bad_state_changes_nothing():
    model = network()
    optimizer = QtSGD(model.parameters(), 2**-4, resolution=Band())
    learn(model, optimizer, 2)
    unchanged = nothing_changed(model, optimizer)
    good = copy.deepcopy(optimizer.state_dict())
    plain = torch.optim.SGD(network().parameters(), 0.1).state_dict()
    with pytest.raises(ValueError, match="no 'resolution'"):
        optimizer.load_state_dict(plain)
    adam = QtAdam(network().parameters(), 2**-4, resolution=Band())
    with pytest.raises(ValueError, match="the state has no 'dampening': not of a QtSGD"):
        optimizer.load_state_dict(adam.state_dict())
    with pytest.raises(ValueError, match="the state has no 'betas': not of a QtAdam"):
        adam.load_state_dict(good)
    group = good["param_groups"][0] | {"momentum": -1.0}
    with pytest.raises(ValueError, match=r"momentum -1.0 is not allowed"):
        optimizer.load_state_dict(good | {"param_groups": [group]})
    other = good | {"resolution": Constant(9).state_dict()}
    with pytest.raises(ValueError, match="'Constant' policy"):
        optimizer.load_state_dict(other)
    with pytest.raises(ValueError, match="different number of parameter groups"):
        optimizer.load_state_dict(
            good | {"param_groups": [], "resolution": good["resolution"] | {"q": 9}}
        )
    assert unchanged()


@BOTH
def test_an_optimizer_on_a_device_is_not_copied(kind):
    model = network()
    with upshift.device.open("model:", CONFIG) as device:
        optimizer = kind(model.parameters(), 2**-3, resolution=Band(), device=device)
        with pytest.raises(TypeError, match=r"save its state_dict\(\)"):
            copy.deepcopy(optimizer)
