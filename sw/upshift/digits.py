"""The demonstration's task: handwritten digits and a small convolutional network.

scikit-learn brings 1,797 images of 8 x 8 pixels, real data without a download.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

IMAGES = 1797
TEST_IMAGES = 360


@dataclass(frozen=True)
class Digits:
    """Images of shape (N, 1, 8, 8) in [0, 1] and their labels 0 to 9."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def load(seed: int, test_images: int = TEST_IMAGES) -> Digits:
    """Return a stratified split of all `IMAGES` that depends on `seed`: the others train."""
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(
        images.astype("float32").reshape(-1, 1, 8, 8) / 16,
        labels,
        test_size=test_images,
        stratify=labels,
        random_state=seed,
    )
    train, test, train_labels, test_labels = map(torch.from_numpy, parts)
    return Digits(train, train_labels, test, test_labels)


def network(seed: int) -> nn.Sequential:
    """Return a network of 9,930 parameters with torch's usual random start."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(512, 10),
        )
