"""Fits the model to points, and finds how wrong it is about units that it has not seen.

Every relative error counts the same, so that a small unit matters as much as a large one. A
coefficient of the area that would be negative is left out, since no part of a unit is made of
less than nothing, and an estimate beyond what was measured would suffer from it.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from upshift.config import UnitConfig
from upshift_boards.fabric import model
from upshift_boards.fabric.parts import Part, find
from upshift_boards.fabric.place import put

Point = dict[str, Any]
Sample = tuple[Part, UnitConfig, dict[str, float]]
"""A unit on a part, and the medians of what its seeds came to."""

AREAS = ("logic", "flip-flops")


def samples(points: Iterable[Point]) -> list[Sample]:
    """Return one sample for each unit on each part."""
    grouped: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        unit = json.dumps(point["configuration"], sort_keys=True)
        grouped.setdefault((point["part"], unit), []).append(point)
    return [
        (
            find(part),
            UnitConfig.from_json(unit),
            {
                "logic": statistics.median(point["logic"] for point in some),
                "flip-flops": statistics.median(point["cells"]["flip-flops"] for point in some),
                "clock": statistics.median(point["clock"] for point in some),
            },
        )
        for (part, unit), some in grouped.items()
    ]


def _least_squares(
    rows: list[dict[str, float]], wanted: list[float], *, positive: bool
) -> dict[str, float]:
    """Return coefficients of the sum nearest to what is wanted, by name."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    while True:
        names = [name for name in names if any(row.get(name) for row in rows)]
        matrix = np.array([[float(row.get(name, 0)) for name in names] for row in rows])
        found = np.linalg.lstsq(matrix, np.array(wanted), rcond=None)[0]
        if not positive or found.min() >= 0:
            return {name: float(f"{value:.6g}") for name, value in zip(names, found, strict=True)}
        names.pop(int(found.argmin()))


def _area(some: list[Sample], what: str) -> dict[str, float]:
    rows = [
        {name: value / numbers[what] for name, value in model.area_terms(config).items()}
        for _, config, numbers in some
    ]
    return _least_squares(rows, [1.0] * len(rows), positive=True)


def _period(some: list[Sample]) -> dict[str, float]:
    rows = [model.period_terms(part, config) for part, config, _ in some]
    wanted = [math.log(1e3 / numbers["clock"]) for _, _, numbers in some]
    return _least_squares(rows, wanted, positive=False)


def _coefficients(some: list[Sample]) -> dict[str, Any]:
    families = dict.fromkeys(part.family for part, _, _ in some)
    return {
        "families": {
            family: {
                what: _area([each for each in some if each[0].family == family], what)
                for what in AREAS
            }
            | {"measured": _ranges([each for each in some if each[0].family == family])}
            for family in families
        },
        "period": _period(some),
    }


def _ranges(some: list[Sample]) -> dict[str, list[int]]:
    found = [model.properties(config) for _, config, _ in some]
    return {
        name: [min(each[name] for each in found), max(each[name] for each in found)]
        for name in found[0]
    }


def unseen(some: list[Sample]) -> Iterator[tuple[Sample, model.Estimate]]:
    """Yield each sample with the estimate of a model that has not seen its unit on any part."""
    for config in dict.fromkeys(config for _, config, _ in some):
        rest = [each for each in some if each[1] != config]
        fitted = _coefficients(rest)
        for each in some:
            if each[1] == config:
                yield each, model.estimate(each[0], config, fitted)


def fit(points: Iterable[Point]) -> dict[str, Any]:
    """Return the model that fits points.

    Returns
    -------
    dict
        Coefficients by family and resource, those of the period, and ``errors``: relative, by
        resource, as median and largest, of estimates that have not seen the unit.
    """
    some = samples(points)
    found = list(unseen(some))
    read: dict[str, Callable[[model.Estimate], float]] = {
        "logic": lambda estimate: estimate.logic,
        "flip-flops": lambda estimate: estimate.flip_flops,
        "clock": lambda estimate: estimate.clock,
    }
    errors = {}
    for what, of in read.items():
        wrong = [abs(of(estimate) / numbers[what] - 1) for (_, _, numbers), estimate in found]
        errors[what] = {
            "median": round(statistics.median(wrong), 4),
            "largest": round(max(wrong), 4),
        }
    return {
        "points": len(some),
        "configurations": len({config for _, config, _ in some}),
        "errors": errors,
    } | _coefficients(some)


def save(fitted: dict[str, Any], path: Path) -> None:
    """Write a model to a file, whole or not at all."""
    put(path, (json.dumps(fitted, indent=1) + "\n").encode())


def describe(fitted: dict[str, Any]) -> Iterator[str]:
    """Yield what a model was fitted to and how wrong it is, for people."""
    yield (
        f"fitted to {fitted['points']} points of {fitted['configurations']} units; "
        "error for a unit that was left out, median and largest:"
    )
    for what, error in fitted["errors"].items():
        yield f"  {what:<11}{error['median']:6.1%} {error['largest']:6.1%}"
