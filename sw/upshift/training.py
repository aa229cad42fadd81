"""Training that proves itself: the same run held by torch, the integer model and a device.

Each holder starts from the same network, keeps weights, policy and optimizer of its own, and is
never refreshed from another. The device's network computes the gradients, so what is learned is
what the device holds; the others are given those gradients. After every step all weights of all
holders are compared, and so are the counters of every burst.
"""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

import upshift.device
from upshift import digits
from upshift.config import UnitConfig
from upshift.device import Device
from upshift.formats import Raw
from upshift.optim import Band, QtSGD
from upshift.report import UpdateReport

LEARNING_RATE = 2**-1
BATCH = 64


class MismatchError(RuntimeError):
    """Two holders of the same run disagree."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch did. `infimum` and `supremum` are the band that q should lie in.

    `vanish_raises` and `schedule_raises` count the units that q rose during the epoch, the
    schedule's at its beginning.
    """

    epoch: int
    loss: float
    accuracy: float
    q: int
    infimum: float
    supremum: float
    schedule_raises: int
    vanish_raises: int
    zero_share: float
    saturated: int
    updates: int
    update_seconds: float

    @property
    def updates_per_second(self) -> float:
        """Updates per second of the device's own optimizer step, reading back included."""
        return self.updates / self.update_seconds


@dataclass
class Run:
    """A training run and its outcome; `epochs` fills up while `train` is iterated."""

    config: UnitConfig
    device: str
    seed: int
    parameters: int
    epochs: list[Epoch] = field(default_factory=list)
    comparisons: int = 0
    digests: dict[str, str] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """Accuracy on the test images after the last epoch."""
        return self.epochs[-1].accuracy

    @property
    def updates(self) -> int:
        """Weight updates that the device computed."""
        return sum(epoch.updates for epoch in self.epochs)


@dataclass
class _Holder:
    """One of the parties that hold the same run."""

    name: str
    network: nn.Module
    optimizer: QtSGD
    device: Device | None
    config: UnitConfig

    def raw_weights(self) -> Raw:
        """Return all weights as raw words, from where they are truly held."""
        if self.device is not None:
            return self.device.read(0, sum(p.numel() for p in self.network.parameters()))
        return np.concatenate(
            [
                self.config.weight.encode(p.detach().numpy().ravel())
                for p in self.network.parameters()
            ]
        )

    def reports(self) -> list[UpdateReport]:
        return [self.optimizer.reports[p] for p in self.network.parameters()]


def configuration(parameters: int, lanes: int = 8) -> UnitConfig:
    """Return a default unit just deep enough for a number of parameters."""
    return UnitConfig(lanes=lanes, depth=-(-parameters // lanes) * lanes)


def train(
    url: str,
    *,
    epochs: int,
    seed: int,
    opened: Callable[[Device], None] = lambda device: None,
) -> Iterator[Run]:
    """Train the digits network through a device, comparing all holders after every step.

    Parameters
    ----------
    url : str
        Device that holds the weights, such as ``"rtl:"``.
    epochs : int
    seed : int
        Decides the split, the start and the order of the images.
    opened : callable, optional
        Called with the device once it is open.

    Yields
    ------
    Run
        The same object after every epoch; digests are there after the last.

    Raises
    ------
    MismatchError
        At the first step after which two holders differ.
    """
    data = digits.load(seed)
    start = digits.network(seed)
    config = configuration(sum(p.numel() for p in start.parameters()))
    with ExitStack() as stack:
        # On a network this small threads cost more than they bring, and the order of sums would
        # depend on the machine.
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(1)
        device = stack.enter_context(upshift.device.open(url, config))
        opened(device)
        named: list[tuple[str, Device | None]] = [(url, device), ("torch", None)]
        if url != "model:":
            named.append(("model:", stack.enter_context(upshift.device.open("model:", config))))
        holders = [_hold(name, start, held_by, config) for name, held_by in named]
        run = Run(config, url, seed, sum(p.numel() for p in start.parameters()))
        order = torch.Generator().manual_seed(seed)
        for _ in range(epochs):
            _train_epoch(run, holders, data, order)
            if len(run.epochs) == epochs:
                run.digests = {holder.name: _digest(holder.raw_weights()) for holder in holders}
            yield run


def _hold(name: str, start: nn.Module, device: Device | None, config: UnitConfig) -> _Holder:
    network = copy.deepcopy(start)
    optimizer = QtSGD(
        network.parameters(),
        LEARNING_RATE,
        resolution=Band(),
        weight=config.weight,
        gradient=config.gradient,
        device=device,
    )
    return _Holder(name, network, optimizer, device, config)


def _train_epoch(
    run: Run, holders: list[_Holder], data: digits.Digits, order: torch.Generator
) -> None:
    first, others = holders[0], holders[1:]
    policy = first.optimizer.resolution
    assert isinstance(policy, Band)
    if run.epochs:
        for holder in holders:
            holder.optimizer.resolution.step()
    vanish_before = sum(policy.raises["vanish"].values())
    schedule_before = sum(epoch.schedule_raises for epoch in run.epochs)
    losses, seconds, updates, zeros, saturated = [], 0.0, 0, 0, 0

    for batch in torch.split(torch.randperm(len(data.train_images), generator=order), BATCH):
        first.optimizer.zero_grad()
        outputs = first.network(data.train_images[batch])
        loss = nn.functional.cross_entropy(outputs, data.train_labels[batch])
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.item() * len(batch))
        clock = time.perf_counter()
        first.optimizer.step()
        seconds += time.perf_counter() - clock
        for holder in others:
            _give_gradients(first.network, holder.network)
            holder.optimizer.step()
        _compare(run, holders)
        for report in first.reports():
            updates += report.elements
            zeros += report.elements - report.nonzero
            saturated += report.saturated

    run.epochs.append(
        Epoch(
            epoch=policy.t,
            loss=sum(losses) / len(data.train_images),
            accuracy=_accuracy(first.network, data),
            q=policy.q,
            infimum=policy.infimum(policy.t),
            supremum=policy.supremum(policy.t),
            schedule_raises=policy.raises["schedule"] - schedule_before,
            vanish_raises=sum(policy.raises["vanish"].values()) - vanish_before,
            zero_share=zeros / updates,
            saturated=saturated,
            updates=updates,
            update_seconds=seconds,
        )
    )


def _give_gradients(source: nn.Module, target: nn.Module) -> None:
    for p, q in zip(source.parameters(), target.parameters(), strict=True):
        q.grad = None if p.grad is None else p.grad.clone()


def _compare(run: Run, holders: list[_Holder]) -> None:
    """Compare every weight and every report of all holders with the first's."""
    first = holders[0]
    weights, reports = first.raw_weights(), first.reports()
    step = run.comparisons // (run.parameters * (len(holders) - 1)) + 1
    for other in holders[1:]:
        theirs = other.raw_weights()
        if not np.array_equal(weights, theirs):
            at = int(np.flatnonzero(weights != theirs)[0])
            raise MismatchError(
                f"step {step}: {np.count_nonzero(weights != theirs)} of {weights.size} weights "
                f"differ; the first is weight {at}: {first.name} holds {weights[at]}, "
                f"{other.name} holds {theirs[at]}"
            )
        if reports != other.reports():
            raise MismatchError(
                f"step {step}: reports differ: {first.name} {reports}, "
                f"{other.name} {other.reports()}"
            )
        run.comparisons += weights.size


def _accuracy(network: nn.Module, data: digits.Digits) -> float:
    with torch.no_grad():
        right = network(data.test_images).argmax(1) == data.test_labels
    return float(right.double().mean())


def _digest(weights: Raw) -> str:
    return hashlib.sha256(weights.astype("<i8").tobytes()).hexdigest()
