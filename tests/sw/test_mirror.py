"""Optimizers that do not wait for their device compare what it reported later."""

import pytest
import torch
from torch import nn

from sw.distant import BASES, CONFIG, Far, Late, bits, far, held, learn, network, optimize
from upshift.device import DeviceError, RefusedError
from upshift.optim import Band, QtSGD


def zero_gradients(model):
    for p in model.parameters():
        p.grad = torch.zeros_like(p)


def test_a_distant_device_is_mirrored_by_the_model_and_others_are_read():
    device, model, optimizer = far()
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


def test_a_step_ends_when_the_step_before_has_been_compared():
    device, model, optimizer = far()
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


def test_the_reports_are_the_hosts_with_what_was_clipped():
    _, model, optimizer = far()
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
def test_a_false_report_is_noticed_one_step_later_at_the_latest(burst):
    device, model, optimizer = far()
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


def test_a_refused_burst_names_step_and_parameter():
    device, model, optimizer = far()
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
