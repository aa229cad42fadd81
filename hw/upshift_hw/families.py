"""FPGA families, and how deep a unit's pipeline is best there.

A deeper pipeline reaches a higher clock, costs registers, and makes a beat wait longer for a
weight in flight; the depths here are those beyond which the clock gains little.
"""

from typing import Any, Literal

Family = Literal["ecp5", "ice40", "gowin"]

PIPELINE: dict[Family, int] = {"ecp5": 8, "ice40": 7, "gowin": 7}
"""Clocks from a gradient beat to the write of its weights."""


def is_ecp5(platform: Any) -> bool:
    """Return whether a platform is an ECP5, of which some modules place cells by name."""
    return getattr(platform, "device", "").startswith("LFE5U")
