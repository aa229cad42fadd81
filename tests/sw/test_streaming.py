"""Optimizers that do not wait for their device: late comparisons, and bursts that leave early."""

import pytest
import torch
from torch import nn

import upshift.device
from upshift import words
from upshift.config import UnitConfig
from upshift.device import DeviceError, RefusedError
from upshift.device.model import ModelDevice
from upshift.optim import Band, Constant, QtSGD

CONFIG = UnitConfig(lanes=4, depth=64)
BASES = [3, 23, 27, 39]  # of the network's parameters, from address 3 on
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
}


class Far(ModelDevice):
    """Answers late, notes what happens when, and lies when told to."""

    distant = True

    def __init__(self, config):
        super().__init__(config)
        self.events = []
        self.lie_at = None  # number of the burst whose report is wrong
        self.bursts = 0

    def _submit(self, base, raw, rate, resolution):
        self.events.append(("submit", base))
        wrong, self.bursts = self.bursts == self.lie_at, self.bursts + 1
        return Late(self, base, super()._submit(base, raw, rate, resolution), wrong)

    def _read(self, base, count):
        self.events.append(("read", base))
        return super()._read(base, count)

    def _checksum(self, base, count):
        self.events.append(("checksum", base, count))
        return words.checksum(self._unit.weights[base : base + count], CONFIG.weight.width)

    def flip(self, address):
        self._unit.weights[address] ^= 1


class Late:
    def __init__(self, device, base, pending, wrong):
        self.device, self.base, self.pending, self.wrong = device, base, pending, wrong

    def result(self):
        self.device.events.append(("result", self.base))
        report = self.pending.result()
        return report._replace(nonzero=report.nonzero + 1) if self.wrong else report


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))


def optimize(model, device=None, policy=None, lr=2**-4, **options):
    formats = {"weight": CONFIG.weight, "gradient": CONFIG.gradient}
    place = {} if device is None else {"device": device, "base": 3}
    resolution = policy or Constant(12)
    return QtSGD(model.parameters(), lr, resolution=resolution, **formats, **place, **options)


@pytest.fixture
def far():
    """A distant device, a network on it, its optimizer, and no events yet."""
    device, model = Far(CONFIG), network()
    optimizer = optimize(model, device)
    device.events.clear()
    return device, model, optimizer


def loss(model, number=0):
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(number))
    return model(x).square().sum()


def learn(model, optimizer, steps, *, stream=False, start=0):
    for number in range(start, start + steps):
        optimizer.zero_grad()
        out = loss(model, number)
        if stream:
            with optimizer.streaming():
                out.backward()
        else:
            out.backward()
        optimizer.step()
        if number % 4 == 3:
            optimizer.resolution.step()


def bits(model):
    return torch.cat([p.detach().ravel() for p in model.parameters()])


def held(device):
    return torch.from_numpy(CONFIG.weight.decode(device._unit.weights[3:42])).float()


def zero_gradients(model):
    for p in model.parameters():
        p.grad = torch.zeros_like(p)


# -- mirror="model" -----------------------------------------------------------------------------


def test_a_distant_device_is_mirrored_by_the_model_and_others_are_read(far):
    device, model, optimizer = far
    learn(model, optimizer, 1)
    assert all(event[0] == "submit" for event in device.events), "nothing is waited for"
    near = Far(CONFIG)
    near.distant = False
    near_model = network()
    near_optimizer = optimize(near_model, near)
    near.events.clear()
    learn(near_model, near_optimizer, 1)
    assert [kind for kind, _ in near.events] == ["submit", "result", "read"] * 4
    assert torch.equal(bits(model), bits(near_model))


def test_a_step_ends_when_the_step_before_has_been_compared(far):
    device, model, optimizer = far
    submits, results = [("submit", base) for base in BASES], [("result", base) for base in BASES]
    learn(model, optimizer, 3)
    assert device.events == submits + 2 * (submits + results)
    device.events.clear()
    optimizer.collect()
    assert device.events == results
    optimizer.collect()
    assert device.events == results
    learn(model, optimizer, 1)
    device.events.clear()
    optimizer.state_dict()
    assert device.events == results


def test_the_reports_are_the_hosts_with_what_was_clipped(far):
    _, model, optimizer = far
    alone = network()
    reference = optimize(alone)
    for net, opt in ((model, optimizer), (alone, reference)):
        for p in net.parameters():
            p.grad = torch.full_like(p, 9.0)  # beyond the format
        opt.step()
    assert list(optimizer.reports.values()) == list(reference.reports.values())
    assert optimizer.reports[model[0].bias].clipped == 4
    optimizer.collect()


@pytest.mark.parametrize("burst", range(8))
def test_a_false_report_is_noticed_one_step_later_at_the_latest(far, burst):
    device, model, optimizer = far
    device.lie_at = burst
    message = rf"^step {burst // 4 + 1}: the device reported .* for parameter {burst % 4}, expected"
    if burst < 4:
        learn(model, optimizer, 1)
        with pytest.raises(DeviceError, match=message):
            learn(model, optimizer, 1)
    else:
        learn(model, optimizer, 2)
        with pytest.raises(DeviceError, match=message):
            optimizer.collect()
    optimizer.sync()
    learn(model, optimizer, 3)
    optimizer.collect()
    assert torch.equal(held(device), bits(model)), "after sync() all is well again"


def test_a_refused_burst_names_step_and_parameter(far):
    device, model, optimizer = far
    learn(model, optimizer, 1)
    device.raise_floor(13)
    learn(model, optimizer, 1)
    with pytest.raises(RefusedError, match="floor") as refused:
        optimizer.collect()
    assert refused.value.__notes__ == ["in step 2, parameter 0"]


def test_all_weights_are_compared_by_one_checksum_every_few_steps():
    device, model = Far(CONFIG), network()
    optimizer = optimize(model, device, check_every=3)
    device.events.clear()
    learn(model, optimizer, 7)
    assert [event for event in device.events if event[0] == "checksum"] == 2 * [("checksum", 3, 39)]
    assert not any(event[0] == "read" for event in device.events)
    first = int(device._unit.weights[25])
    device.flip(25)
    device.flip(41)
    zero_gradients(model)
    optimizer.step()
    with pytest.raises(
        DeviceError,
        match=rf"after step 9 2 of 39 weights differ .* weight 25, of parameter 1: "
        rf"the device holds {first ^ 1}, the host {first}$",
    ):
        optimizer.step()


def test_a_false_report_is_told_before_the_wrong_weight_that_came_of_it():
    device, model = Far(CONFIG), network()
    optimizer = optimize(model, device, check_every=1)
    device.lie_at = 2
    device.flip(25)
    with pytest.raises(DeviceError, match=r"step 1: the device reported .* for parameter 2"):
        learn(model, optimizer, 1)


def test_a_device_that_is_read_and_finds_another_q_min_is_found_out_at_once(monkeypatch):
    device, model = Far(CONFIG), network()
    optimizer = optimize(model, device, mirror="read")
    honest = Late.result
    monkeypatch.setattr(Late, "result", lambda late: honest(late)._replace(resolution_needed=33))
    with pytest.raises(DeviceError, match=r"step 1: .*needed=33\) for parameter 0, expected q_min"):
        learn(model, optimizer, 1)


def test_a_model_of_no_weights_has_nothing_to_compare():
    device = Far(CONFIG)
    QtSGD(
        [nn.Parameter(torch.zeros(0))], 0.5, resolution=Band(), device=device, check_every=1
    ).step()
    assert [kind for kind, *_ in device.events] == ["read"], "only to see that it is there"


def test_a_checksum_that_is_not_that_of_the_weights_is_told(monkeypatch):
    device, model = Far(CONFIG), network()
    optimizer = optimize(model, device, check_every=1)
    monkeypatch.setattr(device, "_checksum", lambda base, count: 0x1234)
    with pytest.raises(DeviceError, match="checksum is 0x00001234, which is not that of the wei"):
        learn(model, optimizer, 1)


# -- streaming ------------------------------------------------------------------------------------


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


def test_a_parameter_changed_before_is_written_first(far):
    device, model, optimizer = far
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


def test_gradients_accumulate_and_only_the_last_backward_streams(far):
    device, model, optimizer = far
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


def test_an_unusual_gradient_that_step_finds_leaves_what_was_sent_taken(far):
    device, model, optimizer = far
    before = bits(model)
    with optimizer.streaming():
        model[2](torch.ones(1, 4)).sum().backward()
    model[0].bias.grad = torch.full_like(model[0].bias, float("inf"))
    with pytest.raises(ValueError, match=r"parameter 1 .* parameters 2, 3 have taken this step"):
        optimizer.step()
    assert torch.equal(bits(model)[:24], before[:24])
    assert torch.equal(held(device), bits(model))


def test_an_error_in_backward_ends_streaming(far):
    device, model, optimizer = far

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


def test_streaming_is_refused_where_it_cannot_be_right(far):
    device, _, optimizer = far
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
