"""Training as the experiments need it: step by step, from a seed, and honest about divergence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from upshift import digits
from upshift.digits import Digits
from upshift.experiments.table import Column
from upshift.optim import QtAdam, QtSGD

Loss = Callable[[Tensor, Tensor], Tensor]

TRAINED, BATCH = 360, 36
"""Digits that are trained on, and in a mini-batch."""

OPTIMIZERS = {"SGD": QtSGD, "Adam": QtAdam}

RATE = Column("rate", int, "k of the learning rate 2^-k", low=0, high=31)
SEED = Column("seed", int, "of split, first weights and order of the images", low=0)
OPTIMIZER = Column("optimizer", str, "whose direction is quantized", (*OPTIMIZERS,))
ACCURACY = Column(
    "accuracy", float, "on the images of the part; chance if it diverged", low=0, high=1
)
LOSS = Column("loss", float, "on the images of the part; infinite if it diverged", low=0)
ZERO = Column("zero", float, "share of the steps that were zero", low=0, high=1)

CHANCE = 0.1
"""Accuracy of guessing among ten digits, which is what a network that diverged counts as."""

TESTED = 2000
"""Images that are tested at a time, since more might not fit into memory."""


def load(seed: int) -> Digits:
    """Return `TRAINED` digits to learn from, and all others for the test."""
    return digits.load(seed, digits.IMAGES - TRAINED)


@dataclass(frozen=True)
class Step:
    """One mini-batch of training.

    Attributes
    ----------
    number : int
        From 1, through all epochs.
    epoch : int
        From 0.
    loss : float
        Before the step; infinite if the network diverged, which ends the training.
    """

    number: int
    epoch: int
    loss: float

    @property
    def diverged(self) -> bool:
        """Whether loss or gradients were not finite, so that no step was taken."""
        return math.isinf(self.loss)


def train(
    network: nn.Module,
    data: Digits,
    optimizer: Optimizer,
    *,
    epochs: int,
    batch: int,
    seed: int,
    loss: Loss = nn.functional.cross_entropy,
) -> Iterator[Step]:
    """Train, and yield after every step.

    The resolution policy of a quantized optimizer is told of every new epoch.

    Parameters
    ----------
    network : Module
    data : Digits
    optimizer : Optimizer
    epochs, batch : int
    seed : int
        Decides the order of the images.
    loss : callable, optional
        Of outputs and labels.
    """
    parameters = list(network.parameters())
    order = torch.Generator().manual_seed(seed)
    number = 0
    for epoch in range(epochs):
        if epoch and isinstance(optimizer, QtSGD | QtAdam):
            optimizer.resolution.step()
        for chosen in torch.split(torch.randperm(len(data.train_images), generator=order), batch):
            number += 1
            optimizer.zero_grad()
            value = loss(network(data.train_images[chosen]), data.train_labels[chosen])
            value.backward()  # type: ignore[no-untyped-call]
            finite = all(p.grad is None or bool(p.grad.isfinite().all()) for p in parameters)
            if not (finite and math.isfinite(value.item())):
                yield Step(number, epoch, math.inf)
                return
            optimizer.step()
            yield Step(number, epoch, value.item())


@torch.no_grad()
def evaluate(network: nn.Module, data: Digits, *, diverged: bool = False) -> tuple[float, float]:
    """Return accuracy and loss on the test images; chance and infinity if the network diverged."""
    outputs = torch.cat([network(images) for images in torch.split(data.test_images, TESTED)])
    if diverged or not bool(outputs.isfinite().all()):
        return CHANCE, math.inf
    accuracy = (outputs.argmax(1) == data.test_labels).double().mean()
    return float(accuracy), float(nn.functional.cross_entropy(outputs, data.test_labels))
