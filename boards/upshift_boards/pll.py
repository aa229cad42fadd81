"""Dividers of a PLL: the search for those that make one frequency from another.

The PLLs of the three families are one circuit. The input is divided to the comparison frequency,
the oscillator runs at a multiple of it, and its output is divided again. They differ in where the
loop is closed: before the output divider (iCE40), or behind it (ECP5 and Gowin, as used here).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

MAX_ERROR = Fraction(1, 200)
"""Error of the frequency that is refused. The line rate is derived from the one reached."""


@dataclass(frozen=True)
class Limits:
    """What a PLL can do; frequencies in MHz, both ends allowed.

    Attributes
    ----------
    input, comparison, oscillator, output : tuple of float
        Smallest and largest frequency.
    reference, feedback, divider : tuple of int
        Values of the three dividers.
    feedback_from_output : bool
        Whether the loop is closed behind the output divider.
    """

    input: tuple[float, float]
    comparison: tuple[float, float]
    oscillator: tuple[float, float]
    output: tuple[float, float]
    reference: tuple[int, ...]
    feedback: tuple[int, ...]
    divider: tuple[int, ...]
    feedback_from_output: bool


_ICE40 = Limits(
    input=(10, 133),
    comparison=(10, 133),
    oscillator=(533, 1066),
    output=(16, 275),
    reference=tuple(range(1, 17)),
    feedback=tuple(range(1, 129)),
    divider=(2, 4, 8, 16, 32, 64),
    feedback_from_output=False,
)

LIMITS: dict[str, Limits] = {
    "EHXPLLL": Limits(
        input=(8, 400),
        comparison=(10, 400),
        oscillator=(400, 800),
        output=(3.125, 400),
        reference=tuple(range(1, 129)),
        feedback=tuple(range(1, 129)),
        divider=tuple(range(1, 129)),
        feedback_from_output=True,
    ),
    "SB_PLL40_CORE": _ICE40,
    "SB_PLL40_PAD": _ICE40,  # the same, fed by its own pin
    "rPLL": Limits(  # what the GW1NR-9 C6/I5 and the GW2A-18 C8/I7 have in common
        input=(3, 400),
        comparison=(3, 400),
        oscillator=(500, 1200),
        output=(3.90625, 600),
        reference=tuple(range(1, 65)),
        feedback=tuple(range(1, 65)),
        divider=(2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128),
        feedback_from_output=True,
    ),
}
"""The data sheets' limits by primitive."""


@dataclass(frozen=True)
class Settings:
    """Dividers of a PLL, and the frequencies they lead to, in Hz.

    Attributes
    ----------
    input : int
        Frequency that is fed in.
    reference, feedback, divider : int
        What the input is divided by, what the loop divides by, what the output is divided by.
    oscillator : Fraction
        Frequency inside the loop.
    """

    input: int
    reference: int
    feedback: int
    divider: int
    oscillator: Fraction

    @property
    def frequency(self) -> Fraction:
        """Of the output."""
        return self.oscillator / self.divider

    @property
    def comparison(self) -> Fraction:
        """At which the loop compares."""
        return Fraction(self.input, self.reference)


def _within(frequency: float | Fraction, limits: tuple[float, float]) -> bool:
    return limits[0] * 10**6 <= frequency <= limits[1] * 10**6


def _candidates(limits: Limits, source: int, wanted: int) -> Iterator[Settings]:
    """Yield the legal settings with the feedback nearest to the wanted frequency."""
    for reference in limits.reference:
        comparison = Fraction(source, reference)
        if not _within(comparison, limits.comparison):
            continue
        for divider in limits.divider:
            loop = 1 if limits.feedback_from_output else divider
            nearest = int(wanted * loop / comparison)
            for feedback in (nearest, nearest + 1):
                oscillator = comparison * feedback * divider / loop
                if (
                    feedback in limits.feedback
                    and _within(oscillator, limits.oscillator)
                    and _within(oscillator / divider, limits.output)
                ):
                    yield Settings(source, reference, feedback, divider, oscillator)


def search(primitive: str, source: int, wanted: int) -> Settings:
    """Return the settings nearest to a frequency.

    Of equally near ones, those that compare at the highest frequency, which jitter least, and of
    these the one whose oscillator is furthest inside its range.

    Parameters
    ----------
    primitive : str
        A key of `LIMITS`.
    source, wanted : int
        Frequencies in Hz.

    Raises
    ------
    ValueError
        If the input is outside the PLL's range, or nothing legal is within `MAX_ERROR`.
    """
    limits = LIMITS[primitive]
    if not _within(source, limits.input):
        raise ValueError(
            f"{source} Hz into {primitive} is not allowed: "
            f"{limits.input[0]} to {limits.input[1]} MHz"
        )
    middle = sum(limits.oscillator) / 2 * 10**6
    best = min(
        _candidates(limits, source, wanted),
        key=lambda s: (
            abs(s.frequency - wanted),
            -s.comparison,
            abs(s.oscillator - middle),
        ),
        default=None,
    )
    if best is None or abs(best.frequency - wanted) > MAX_ERROR * wanted:
        nearest = "nothing" if best is None else f"{float(best.frequency) / 1e6:.4f} MHz"
        raise ValueError(
            f"{primitive} cannot make {wanted / 1e6:g} MHz from {source / 1e6:g} MHz: "
            f"the nearest is {nearest}"
        )
    return best
