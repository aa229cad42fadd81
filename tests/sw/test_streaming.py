"""Bursts that leave during backward: the same bits, and nothing wrong is sent."""

import pytest
import torch
from torch import nn

import upshift.device
from sw.distant import BASES, CONFIG, Far, bits, far, held, learn, loss, network, optimize
from upshift.device import DeviceError
from upshift.optim import Band, Constant, QtAdam, QtSGD

POLICIES = {
    "constant": lambda: Constant(12),
    "schedule": lambda: Band(vanish=False),
    "band": Band,
    "band at its limit": lambda: Band(q=9, limit=9),
    "each tensor": lambda: Band(per_tensor=True),
}
OPTIONS = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "everything": {"momentum": 0.5, "nesterov": True, "weight_decay": 0.125, "maximize": True},
    "Adam": {"kind": QtAdam, "lr": 2**-6},
}


@pytest.mark.parametrize("mirror", ["read", "model"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_streaming_changes_no_bit(policy, options, mirror):
    alone, streamed = network(), network()
    reference = optimize(alone, policy=policy(), **options)
    device = Far(CONFIG)
    optimizer = optimize(streamed, device, policy(), mirror=mirror, check_every=2, **options)
    learn(alone, reference, 11)
    learn(streamed, optimizer, 11, stream=True)
    optimizer.collect()
    assert torch.equal(bits(alone), bits(streamed))
    assert torch.equal(bits(alone), held(device))
    assert list(optimizer.reports.values()) == list(reference.reports.values())
    ours, theirs = optimizer.state_dict(), reference.state_dict()
    assert ours["resolution"] == theirs["resolution"]
    assert repr(ours["state"]) == repr(theirs["state"])


@pytest.mark.parametrize("name", POLICIES)
def test_bursts_leave_during_backward_where_their_turn_does_not_matter(name):
    device, model = Far(CONFIG), network()
    optimizer = optimize(model, device, POLICIES[name]())
    device.events.clear()
    before = bits(model)
    with optimizer.streaming():
        loss(model).backward()
    early = [("submit", base) for base in (39, 27, 23, 3)]  # as backward comes along
    assert sorted(device.events) == ([] if name == "band" else sorted(early))
    assert torch.equal(bits(model), before), "backward may still need the parameters"
    device.events.clear()
    optimizer.step()
    turn = [("submit", base) for base in BASES]
    assert device.events == (turn if name == "band" else [])
    assert not torch.equal(bits(model), before)


def double(p, optimizer):
    p.grad.mul_(2)


def replace(p, optimizer):
    p.grad = 2 * p.grad


def drop(p, optimizer):
    p.grad = None


def halve_rate(p, optimizer):
    optimizer.param_groups[0]["lr"] /= 2


def change_parameter(p, optimizer):
    with torch.no_grad():
        p.add_(0.25)


def add_momentum(p, optimizer):
    optimizer.param_groups[0]["momentum"] = 0.5


def begin_epochs(p, optimizer):
    for _ in range(6):
        optimizer.resolution.step()


CHANGES = [double, replace, drop, halve_rate, change_parameter, add_momentum, begin_epochs]


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_sent_may_not_change(change):
    device, model = Far(CONFIG), network()
    optimizer = optimize(model, device, Band(q=2, vanish=False))
    learn(model, optimizer, 1, stream=True)
    optimizer.zero_grad()
    with optimizer.streaming():
        loss(model).backward()
    change(model[2].weight, optimizer)
    message = r"^parameter [23], its gradient, .* changed after streaming\(\) had sent its burst"
    with pytest.raises(DeviceError, match=message):
        optimizer.step()
    optimizer.sync()
    assert torch.equal(held(device), bits(model))
    learn(model, optimizer, 2, stream=True)
    optimizer.collect()


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_not_sent_is_computed_anew(change):
    device, streamed, alone = Far(CONFIG), network(), network()
    optimizer = optimize(streamed, device, Band())
    reference = optimize(alone, policy=Band())
    with optimizer.streaming():
        loss(streamed).backward()
    loss(alone).backward()
    for model, opt in ((streamed, optimizer), (alone, reference)):
        change(model[2].weight, opt)
        opt.step()
    optimizer.collect()
    assert torch.equal(bits(streamed), bits(alone))
    assert torch.equal(held(device), bits(alone))


def test_a_parameter_changed_before_is_written_first():
    device, model, optimizer = far()
    alone = network()
    reference = optimize(alone)
    for net, opt, stream in ((model, optimizer, True), (alone, reference, False)):
        learn(net, opt, 1)
        with torch.no_grad():
            net[0].weight[0].fill_(0.3)  # on no grid
        learn(net, opt, 2, stream=stream)
    optimizer.collect()
    assert torch.equal(bits(model), bits(alone))
    assert torch.equal(held(device), bits(alone))


def test_gradients_accumulate_and_only_the_last_backward_streams():
    device, model, optimizer = far()
    alone = network()
    reference = optimize(alone)
    loss(model, 0).backward()
    with optimizer.streaming():
        loss(model, 1).backward()
    assert len(device.events) == 4
    optimizer.step()
    for number in range(2):
        loss(alone, number).backward()
    reference.step()
    assert torch.equal(bits(model), bits(alone))

    with optimizer.streaming():
        loss(model, 0).backward()
    message = r"another gradient after its burst was sent.*; parameters 0, 1, 2, 3 have taken"
    with pytest.raises(DeviceError, match=message), optimizer.streaming():
        loss(model, 1).backward()
    optimizer.collect()
    assert torch.equal(held(device), bits(model))


@pytest.mark.parametrize(
    ("policy", "done"), [(Constant(12), r"parameters 2, 3 have taken"), (Band(), "nothing was")]
)
def test_a_gradient_that_is_not_finite_stops_the_step_where_it_is(policy, done):
    device, model = Far(CONFIG), network()
    optimizer = optimize(model, device, policy, momentum=0.5)
    for p in (model[0].weight, model[0].bias):
        p.register_hook(lambda grad: grad * float("nan"))
    before = [p.detach().clone() for p in model.parameters()]
    with (
        pytest.raises(ValueError, match=rf"parameter [01] .* not finite in .* elements; {done}"),
        optimizer.streaming(),
    ):
        loss(model).backward()
    changed = [not torch.equal(p, was) for p, was in zip(model.parameters(), before, strict=True)]
    assert changed == [False, False, *[isinstance(policy, Constant)] * 2]
    assert len(optimizer.state) == sum(changed), "moments go with the weights"
    optimizer.collect()
    assert torch.equal(held(device), bits(model))
    model[0].weight._backward_hooks.clear()
    model[0].bias._backward_hooks.clear()
    learn(model, optimizer, 2, stream=True)
    optimizer.collect()
    assert torch.equal(held(device), bits(model))


def test_an_unusual_gradient_that_step_finds_leaves_what_was_sent_taken():
    device, model, optimizer = far()
    before = bits(model)
    with optimizer.streaming():
        model[2](torch.ones(1, 4)).sum().backward()
    model[0].bias.grad = torch.full_like(model[0].bias, float("inf"))
    with pytest.raises(ValueError, match=r"parameter 1 .* parameters 2, 3 have taken this step"):
        optimizer.step()
    assert torch.equal(bits(model)[:24], before[:24])
    assert torch.equal(held(device), bits(model))


def test_an_error_in_backward_ends_streaming():
    device, model, optimizer = far()

    def fail(grad):
        raise KeyError("mine")

    handle = model[0].bias.register_hook(fail)
    with pytest.raises(KeyError, match="mine"), optimizer.streaming():
        loss(model).backward()
    handle.remove()
    assert torch.equal(held(device), bits(model))
    device.events.clear()
    optimizer.zero_grad()
    loss(model).backward()
    assert device.events == [], "outside of streaming() nothing is sent"


def test_rates_of_zero_and_frozen_or_empty_parameters_are_left_out():
    device, model = Far(CONFIG), network()
    model[2].bias.requires_grad_(False)
    groups = [
        {"params": [model[0].weight, nn.Parameter(torch.zeros(0))]},
        {"params": [model[0].bias, model[2].weight], "lr": 0.0},
        {"params": [model[2].bias], "lr": 0.3},
    ]
    optimizer = QtSGD(groups, 2**-3, resolution=Constant(12), device=device)
    device.events.clear()
    learn(model, optimizer, 1, stream=True)
    assert device.events == [("submit", 0)]


def test_streaming_is_refused_where_it_cannot_be_right():
    device, _, optimizer = far()
    alone = optimize(network())
    for opt, change, message in (
        (alone, {}, "streaming is for weights on a device, and there is none"),
        (optimizer, {"nonfinite": "skip"}, "nonfinite 'skip' is not allowed with streaming"),
        (optimizer, {"nonfinite": "raise"}, r"group 0: .* rate 0.3: .* not a power of two"),
    ):
        vars(opt).update(change)
        optimizer.param_groups[0]["lr"] = 0.3
        with pytest.raises(ValueError, match=message), opt.streaming():
            pytest.fail("backward must not begin")
    assert device.events == []


def test_streaming_through_the_ordinary_devices():
    with upshift.device.open("model:", CONFIG) as device:
        streamed, alone = network(), network()
        optimizer, reference = optimize(streamed, device, Band()), optimize(alone, policy=Band())
        learn(streamed, optimizer, 6, stream=True)
        learn(alone, reference, 6)
        assert torch.equal(bits(streamed), bits(alone))
