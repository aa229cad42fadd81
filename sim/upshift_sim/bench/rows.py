"""What becomes of the one row of weights that a beat belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from upshift.config import UnitConfig
from upshift.formats import Raw
from upshift.reference import step

if TYPE_CHECKING:
    from upshift_sim.bench.scoreboard import Burst


def updated(config: UnitConfig, burst: Burst, old: Raw) -> tuple[int, Raw]:
    """Return which lanes of a row the last beat of a burst taken so far writes, and what.

    Parameters
    ----------
    config : UnitConfig
    burst : Burst
        Accepted, with the gradients of that beat.
    old : ndarray of int64, shape (lanes,)
        The row before.

    Returns
    -------
    mask : int
        A bit for each lane, lane 0 lowest.
    new : ndarray of int64, shape (lanes,)
        The row after.
    """
    beat = len(burst.words) // config.lanes - 1
    positions = np.arange(config.lanes) + beat * config.lanes - burst.command.base % config.lanes
    touched = (positions >= 0) & (positions < burst.command.count)
    words = np.array(burst.words[beat * config.lanes :], np.int64)
    new = old.copy()
    new[touched], _ = step(
        old[touched],
        words[touched],
        config=config,
        rate=burst.command.rate,
        resolution=burst.command.resolution,
    )
    return int(np.sum(1 << np.flatnonzero(touched))), new
