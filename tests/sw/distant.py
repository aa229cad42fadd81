"""A device behind a slow line, and a network to train on it, for the tests of both."""

import torch
from torch import nn

from upshift import words
from upshift.config import UnitConfig
from upshift.device.model import ModelDevice
from upshift.optim import Constant, QtSGD

CONFIG = UnitConfig(lanes=4, depth=64)
BASES = [3, 23, 27, 39]  # of the network's parameters, from address 3 on


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


def optimize(model, device=None, policy=None, lr=2**-4, kind=QtSGD, **options):
    formats = {"weight": CONFIG.weight, "gradient": CONFIG.gradient}
    place = {} if device is None else {"device": device, "base": 3}
    resolution = policy or Constant(12)
    return kind(model.parameters(), lr, resolution=resolution, **formats, **place, **options)


def far():
    """Return a distant device, a network on it, its optimizer; and no events yet."""
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
