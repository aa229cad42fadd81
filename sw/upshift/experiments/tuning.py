"""Choosing learning rates without a look at the test images.

A few of a seed's own training images are held out; every rate is tried on the others, and the one
that does best on those held out is chosen, for each seed and each arm by itself. The run that is
judged then learns from all training images. No test image of a seed is ever seen in its choice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from sklearn.model_selection import train_test_split

from upshift.digits import Digits
from upshift.experiments.table import Row

Which = tuple[str | int, ...]


def hold_out(data: Digits, images: int, seed: int) -> Digits:
    """Return training images alone, a stratified part of them in place of the test images.

    Parameters
    ----------
    data : Digits
    images : int
        How many are held out.
    seed : int
        Decides which.
    """
    labels = data.train_labels
    learned, held = train_test_split(
        np.arange(len(labels)), test_size=images, stratify=labels.numpy(), random_state=seed
    )
    train, test = torch.from_numpy(learned), torch.from_numpy(held)
    return Digits(data.train_images[train], labels[train], data.train_images[test], labels[test])


def choose(rows: Iterable[Row], names: Sequence[str]) -> dict[Which, int]:
    """Return the best rate of each group: the most accurate, then that of the least loss.

    Parameters
    ----------
    rows : iterable of dict
        Of the images held out, with ``rate``, ``accuracy`` and ``loss``.
    names : sequence of str
        The columns that make a group, whose values are the keys.
    """
    groups: dict[Which, list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[name] for name in names)].append(row)
    return {
        which: int(max(tried, key=lambda row: (row["accuracy"], -row["loss"]))["rate"])
        for which, tried in groups.items()
    }


def share(rates: Sequence[int]) -> str:
    """Say how often each rate was chosen, the most frequent first."""
    counts = {rate: rates.count(rate) for rate in sorted(set(rates))}
    ordered = sorted(counts.items(), key=lambda each: -each[1])
    return ", ".join(f"2^-{rate} {count}" for rate, count in ordered)
