"""The parties that hold the same training run, and how they are compared.

Each holder starts from the same network, keeps weights, policy and optimizer of its own, and is
never refreshed from another.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass

import numpy as np
from torch import nn

from upshift import words
from upshift.config import UnitConfig
from upshift.device import Device
from upshift.formats import Raw
from upshift.optim import Band, QtAdam, QtSGD
from upshift.report import UpdateReport

OPTIMIZERS: dict[str, tuple[type[QtSGD] | type[QtAdam], float]] = {
    "sgd": (QtSGD, 2**-1),
    "adam": (QtAdam, 2**-7),
}
"""How a run may learn: an optimizer and its learning rate."""


class MismatchError(RuntimeError):
    """Two holders of the same run disagree."""


@dataclass
class Holder:
    """One of the parties; without a device its weights are the parameters."""

    name: str
    network: nn.Module
    optimizer: QtSGD | QtAdam
    device: Device | None
    config: UnitConfig

    @classmethod
    def of(
        cls,
        name: str,
        start: nn.Module,
        device: Device | None,
        config: UnitConfig,
        optimizer: str = "sgd",
    ) -> Holder:
        """Return a holder of a copy of the network `start`, with one of the `OPTIMIZERS`."""
        network = copy.deepcopy(start)
        kind, lr = OPTIMIZERS[optimizer]
        learner = kind(
            network.parameters(),
            lr,
            resolution=Band(),
            weight=config.weight,
            gradient=config.gradient,
            device=device,
        )
        return cls(name, network, learner, device, config)

    def raw_weights(self) -> Raw:
        """Return all weights as raw words, from where they are truly held."""
        if self.device is not None:
            return self.device.read(0, self._count())
        return np.concatenate(
            [
                self.config.weight.encode(p.detach().numpy().ravel())
                for p in self.network.parameters()
            ]
        )

    def checksum(self) -> int:
        """Return the CRC-32 of all weights, computed where they are truly held."""
        if self.device is not None:
            return self.device.checksum(0, self._count())
        return words.checksum(self.raw_weights(), self.config.weight.width)

    def digest(self) -> str:
        """Return a SHA-256 of all weights."""
        return hashlib.sha256(self.raw_weights().astype("<i8").tobytes()).hexdigest()

    def reports(self) -> list[UpdateReport]:
        """Return the reports of the last step."""
        return [self.optimizer.reports[p] for p in self.network.parameters()]

    def take_gradients(self, source: nn.Module) -> None:
        """Take over the gradients of another network."""
        for ours, theirs in zip(self.network.parameters(), source.parameters(), strict=True):
            ours.grad = None if theirs.grad is None else theirs.grad.clone()

    def _count(self) -> int:
        return sum(p.numel() for p in self.network.parameters())


def compare(holders: list[Holder], step: int) -> int:
    """Compare every weight and every report of all holders with the first's.

    Returns
    -------
    int
        How many weights were compared.

    Raises
    ------
    MismatchError
        If two differ. The message names `step` and the first weight.
    """
    first = holders[0]
    weights = first.raw_weights()
    for other in holders[1:]:
        theirs = other.raw_weights()
        if not np.array_equal(weights, theirs):
            at = int(np.flatnonzero(weights != theirs)[0])
            raise MismatchError(
                f"step {step}: {np.count_nonzero(weights != theirs)} of {weights.size} weights "
                f"differ; the first is weight {at}: {first.name} holds {weights[at]}, "
                f"{other.name} holds {theirs[at]}"
            )
        _compare_reports(first, other, step)
    return weights.size * (len(holders) - 1)


def compare_checksums(told: int, holders: list[Holder], step: int) -> None:
    """Compare the checksum that the first holder told, and every report, with all others'.

    Raises
    ------
    MismatchError
        If two differ. If the checksum does, all weights are read to name the first.
    """
    first = holders[0]
    for other in holders[1:]:
        expected = other.checksum()
        if told != expected:
            compare(holders, step)
            raise MismatchError(
                f"step {step}: {first.name} says its weights have the checksum {told:#010x}, "
                f"those of {other.name} have {expected:#010x}; read one by one they are equal"
            )
        _compare_reports(first, other, step)


def _compare_reports(first: Holder, other: Holder, step: int) -> None:
    if first.reports() != other.reports():
        raise MismatchError(
            f"step {step}: reports differ: {first.name} {first.reports()}, "
            f"{other.name} {other.reports()}"
        )
