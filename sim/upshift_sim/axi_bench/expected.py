"""What must be reported of a command."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Expected:
    """What must be reported of a command.

    Attributes
    ----------
    report : dict
        Fields of the unit's report.
    gradients, weights : int
        Beats that the shell says were used.
    flags : set of str
        Flags of `report_flags` that are set.
    """

    report: dict[str, int]
    gradients: int = 0
    weights: int = 0
    flags: set[str] = field(default_factory=set)
