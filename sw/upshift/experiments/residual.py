"""Residual networks: the paper's for CIFAR-10, and a small one of the same kind for digits.

As in He et al. 2016, section 4.2: stages of blocks with two convolutions, each with batch
normalization; where a stage begins, a shortcut leaves out every other pixel and fills new channels
with zeros, so that no shortcut has weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

CLASSES = 10


class Block(nn.Module):
    """Two convolutions beside a shortcut.

    Parameters
    ----------
    inputs, outputs : int
        Channels; if they differ, the block halves height and width.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.stride = 1 if inputs == outputs else 2
        self.new = outputs - inputs
        self.branch = nn.Sequential(
            *_normalized(inputs, outputs, self.stride), nn.ReLU(), *_normalized(outputs, outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return what follows from images of shape (N, inputs, height, width)."""
        short = x[..., :: self.stride, :: self.stride]
        short = nn.functional.pad(short, (0, 0, 0, 0, 0, self.new))
        return nn.functional.relu(self.branch(x) + short)


def network(seed: int, *, inputs: int, widths: Sequence[int], blocks: int) -> nn.Sequential:
    """Return a residual network of ``2 + 2 * blocks * len(widths)`` layers.

    Parameters
    ----------
    seed : int
        Decides the first weights: Kaiming's normal distribution by fan-out in convolutions.
    inputs : int
        Channels of the images.
    widths : sequence of int
        Channels of the stages.
    blocks : int
        Blocks of a stage.
    """
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        layers: list[nn.Module] = [*_normalized(inputs, widths[0]), nn.ReLU()]
        before = widths[0]
        for width in widths:
            for _ in range(blocks):
                layers.append(Block(before, width))
                before = width
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, CLASSES)]
        built = nn.Sequential(*layers)
        for module in built.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return built


def _normalized(inputs: int, outputs: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outputs)
