"""What a weight may be after a reset: old or new, and nothing in between.

A beat that was taken long enough ago has been written, so its weights must be new; one that was
taken within the latency may have been written or not; one that was not taken changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from upshift.config import UnitConfig
from upshift.layout import Operation
from upshift.reference import Unit, step

if TYPE_CHECKING:
    from upshift_sim.bench.scoreboard import Burst


def possible_weights(
    config: UnitConfig, burst: Burst, unit: Unit, *, written_before: int
) -> dict[int, set[int]]:
    """Return the values that each weight of a burst may have after a reset.

    Parameters
    ----------
    config : UnitConfig
    burst : Burst
        An executed burst, or one of which some beats were taken.
    unit : Unit
        The model; it has executed what was complete.
    written_before : int
        Beats taken before this clock have certainly been written.

    Returns
    -------
    dict
        One value for a weight that was certainly written, two for one that may have been.
        Bursts that were written altogether are left out: the model has their weights.
    """
    if burst.command.operation != Operation.UPDATE or not burst.clocks:
        return {}
    if len(burst.clocks) == burst.beats:
        if burst.report["refusal"] or burst.clocks[-1] < written_before:
            return {}
        before, after = burst.before, burst.after
    else:
        if unit.refusal(burst.command):
            return {}
        taken = burst.gradients  # of the beats taken
        start = burst.command.base
        before = unit.weights[start : start + taken.size].copy()
        after, _ = step(
            before,
            taken,
            config=config,
            rate=burst.command.rate,
            resolution=burst.command.resolution,
        )
    values: dict[int, set[int]] = {}
    for address, old, new in zip(burst.addresses, before.tolist(), after.tolist(), strict=False):
        beat = address // config.lanes - burst.command.base // config.lanes
        written = burst.clocks[beat] < written_before
        values[address] = {new} if written else {old, new}
    return values
