"""Tables for people and programs elsewhere: how ties round, and single updates in hexadecimal.

The element vectors need nothing but a way to split a line: eight hexadecimal columns, two's
complement, with a heading that names them. They cover all gradient formats.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from upshift import rational, reference
from upshift.config import UnitConfig
from upshift.formats import Fixed, Raw

COLUMNS = (
    "weight",
    "gradient",
    "rate",
    "resolution",
    "new_weight",
    "nonzero",
    "saturated",
    "needed",
)
NOTHING_NEEDED = -(2**15)
"""What `needed` holds where no finite gradient is non-zero."""


@dataclass(frozen=True)
class ElementVectors:
    """Single updates: integer arrays of equal length, named after `COLUMNS`."""

    weight: Raw
    gradient: Raw
    rate: Raw
    resolution: Raw
    new_weight: Raw
    nonzero: Raw
    saturated: Raw
    needed: Raw


def tie_table() -> str:
    """Return a Markdown table of how values around ties are rounded, and by whom."""
    below = float(np.nextafter(0.5, 0.0))
    lines = [
        "| x | floor(x + 1/2) | round half to even | raw word in Fixed(4, 0) |",
        "|---:|---:|---:|---|",
    ]
    fmt = Fixed(4, 0)
    for x in (-2.5, -1.5, -0.5, -below, 0.0, below, 0.5, 1.5, 2.5, 7.5, -8.5, -9.0):
        raw = int(fmt.encode([x])[0])
        note = " (saturated)" if fmt.encode_counted([x])[1] else ""
        exact = rational.quantize(Fraction(x), 0)
        shown = f"{x:.17g}" if abs(x) == below else f"{x:g}"
        lines.append(f"| {shown} | {exact} | {round(x)} | `{raw & 0xF:x}`{note} |")
    return "\n".join(lines) + "\n"


def element_vectors(config: UnitConfig, count: int, seed: int) -> ElementVectors:
    """Return random single updates with what comes of them.

    Parameters
    ----------
    config : UnitConfig
        With any gradient format; raw words are drawn from all bit patterns, so that float
        formats bring subnormals, infinities and NaN.
    count : int
    seed : int
    """
    rng = np.random.default_rng(seed)
    weight = rng.integers(config.weight.min, config.weight.max, count, endpoint=True)
    gradient = rng.integers(0, 1 << config.gradient.width, count)
    if isinstance(config.gradient, Fixed):
        gradient = (gradient + config.gradient.min) >> rng.integers(0, config.gradient.width, count)
    rate = rng.integers(0, config.max_rate, count, endpoint=True)
    resolution = rng.integers(0, config.max_resolution, count, endpoint=True)
    outcomes = []
    for w, g, k, q in zip(weight, gradient, rate, resolution, strict=True):
        new, report = reference.step([w], [g], config=config, rate=int(k), resolution=int(q))
        needed = report.resolution_needed
        outcomes.append(
            (
                int(new[0]),
                report.nonzero,
                report.saturated,
                NOTHING_NEEDED if needed is None else needed,
            )
        )
    columns = np.array(outcomes, np.int64).reshape(-1, 4).T
    return ElementVectors(weight, gradient, rate, resolution, *columns)


def to_hex(vectors: ElementVectors) -> str:
    """Return the vectors as text: a heading, then one update a line, 64-bit hexadecimal words."""
    columns = [getattr(vectors, name).astype(np.int64).view(np.uint64) for name in COLUMNS]
    lines = ["// " + " ".join(COLUMNS)]
    for row in zip(*columns, strict=True):
        lines.append(" ".join(f"{int(word):016x}" for word in row))
    return "\n".join(lines) + "\n"


def from_hex(text: str) -> ElementVectors:
    """Return the vectors in `text`, as `to_hex` writes it.

    Raises
    ------
    ValueError
        If the heading or a line is not what it should be.
    """
    heading, *lines = text.splitlines()
    if heading.split() != ["//", *COLUMNS]:
        raise ValueError(f"heading {heading!r} is not allowed: '// {' '.join(COLUMNS)}'")
    rows = [[int(word, 16) for word in line.split()] for line in lines]
    for number, row in enumerate(rows, 2):
        if len(row) != len(COLUMNS):
            raise ValueError(f"line {number} has {len(row)} words, expected {len(COLUMNS)}")
    columns = np.array(rows, np.uint64).reshape(-1, len(COLUMNS)).T.copy().view(np.int64)
    return ElementVectors(*columns)
