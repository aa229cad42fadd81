"""How a step is quantized: as on a device, or as published software does it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Rounding = Literal["half up", "half down", "up"]


@dataclass(frozen=True)
class Rule:
    """The equation that a step follows; left as it is, that of the devices.

    Attributes
    ----------
    eta : float
        Scale of the grid: a step s becomes a multiple of 1 / Q_p with ``Q_p = eta * 2**q``.
    rounding : {"half up", "half down", "up"}
        How ``Q_p * s`` becomes an integer D. Ties up is ``w - Q(s)``, ties down ``w + Q(-s)``, and
        up ``w + floor(-Q_p s) / Q_p``, all written as ``w - D / Q_p``.
    push : float
        Length of what is added to the direction h, along itself, before the learning rate:
        ``h + push * h / norm(h)``. Nothing is added where h is zero.
    """

    eta: float = 1.0
    rounding: Rounding = "half up"
    push: float = 0.0

    def departures(self) -> list[str]:
        """Say what no device can do."""
        said = []
        if self.eta != 1.0:
            power = math.frexp(self.eta)[0] == 0.5
            said.append(f"Q_p is {self.eta:.7g} * 2**q" + ("" if power else " (no power of two)"))
        if self.rounding != "half up":
            what = {"half down": "ties down", "up": "everything up"}[self.rounding]
            said.append(f"it rounds {what}")
        if self.push:
            said.append("it adds to the direction")
        return said
