"""What a unit would need and reach on FPGAs, if something is installed that knows.

Estimators are found through the entry-point group ``upshift.estimators``; without one, reports
leave these lines out.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from upshift.config import UnitConfig

_GROUP = "upshift.estimators"


def estimates(config: UnitConfig) -> list[dict[str, Any]]:
    """Return what a unit would come to on some FPGAs.

    Parameters
    ----------
    config : UnitConfig

    Returns
    -------
    list of dict
        One per part: ``part``, ``title``, ``pipeline``, ``logic``, ``logic_available``,
        ``flip_flops``, ``block_ram``, ``block_ram_available``, ``fits``, ``clock`` in MHz,
        ``updates_per_second`` and ``warnings``. Empty if no estimator is installed.
    """
    found: list[dict[str, Any]] = []
    for point in sorted(entry_points(group=_GROUP)):
        try:
            estimator = point.load()
        except ImportError:
            continue
        found += estimator(config)
    return found


def lines(config: UnitConfig) -> list[str]:
    """Return the same as lines for people."""
    return [
        f"estimated on {each['title']}: {each['logic']:,} of {each['logic_available']:,} logic "
        f"cells, {each['block_ram']} of {each['block_ram_available']} block RAMs, "
        + (
            f"{each['clock']:.0f} MHz, {each['updates_per_second']:.3g} updates/s"
            if each["fits"]
            else "too large"
        )
        for each in estimates(config)
    ]
