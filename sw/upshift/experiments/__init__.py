"""Experiments that anyone can repeat: what the quantized equation does to learning, measured.

An experiment is a list of cells, each a small piece of work that depends on nothing but its own
settings. Cells run in parallel processes and are kept when they finish, so an interrupted run
continues. What comes of them is a table with one observation a row, a summary in numbers, a
report in words and plots; all follow from the rows.

This module knows the names only, and needs no packages.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from upshift.experiments.experiment import Experiment

ABOUT = {
    "forensics": "why the published vanish test drives q to its limit",
    "global": "how often it finds global minima, at equal cost",
    "precision": "which formats of weights stall, and whether q_min says so",
    "table1": "the paper's table: quantized against plain at nine learning rates, with deviations",
    "ablation": "noise, dead zone, stochastic rounding... at the same q(t) as quantized steps",
    "whiteness": "whether quantization errors are uniform and white, and where not",
}
"""What there is, by name, in one line each."""

_MODULES = {"global": "search"}
"""Where they are, if the module has another name."""


def find(name: str) -> Experiment[Any]:
    """Return an experiment.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if name not in ABOUT:
        raise ValueError(f"experiment {name!r} is not allowed: {', '.join(ABOUT)}")
    module = importlib.import_module(f"{__name__}.{_MODULES.get(name, name)}")
    found: Experiment[Any] = module.EXPERIMENT
    return found
