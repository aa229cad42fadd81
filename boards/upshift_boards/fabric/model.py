"""What a unit would need and reach on an FPGA, from what was measured of others.

The model is sums of terms that follow from how a unit is built: bits that are shifted, added and
stored in every lane, and what there is once. Logic and registers are such sums themselves, the
logarithm of the clock's period is another. Coefficients are never fitted here: `upshift campaign
fit` writes them into ``model.json``, with the errors of a fit that has not seen the unit in
question and the ranges that were measured. Block RAM is counted exactly.
"""

from __future__ import annotations

import functools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift_boards.fabric.parts import Part, find
from upshift_boards.fabric.ram import blocks
from upshift_hw.pipeline import pipeline_of

FILE = Path(__file__).with_name("model.json")
"""The coefficients."""


@dataclass(frozen=True)
class Estimate:
    """What a unit would come to on a part.

    Attributes
    ----------
    part : Part
    config : UnitConfig
    logic, flip_flops, block_ram : int
    clock : float
        MHz, of a seed that is neither lucky nor unlucky.
    fits : bool
        The part has that much logic and block RAM.
    warnings : tuple of str
        Properties of the unit outside of what was measured.
    """

    part: Part
    config: UnitConfig
    logic: int
    flip_flops: int
    block_ram: int
    clock: float
    fits: bool
    warnings: tuple[str, ...]

    @property
    def updates_per_second(self) -> float:
        """One per lane and clock."""
        return self.config.lanes * self.clock * 1e6


def properties(config: UnitConfig) -> dict[str, int]:
    """Return the numbers in which units differ, by name."""
    return {
        "lanes": config.lanes,
        "weight width": config.weight.width,
        "gradient width": config.gradient.width,
        "depth": config.depth,
        "max_rate": config.max_rate,
        "pipeline": config.pipeline,
    }


def _shifter(config: UnitConfig) -> int:
    """Return the multiplexers of one lane's shifter: its bits times its stages."""
    weight, gradient = config.weight, config.gradient
    if isinstance(gradient, Fixed):
        bits = max(gradient.width + weight.fraction + 1 - gradient.fraction, gradient.width)
        return bits * config.max_rate.bit_length()
    return (weight.width + 2) * (weight.width + 1).bit_length()


def area_terms(config: UnitConfig) -> dict[str, float]:
    """Return the terms of logic and of registers."""
    lanes, weight, gradient = config.lanes, config.weight.width, config.gradient.width
    fixed, resident = isinstance(config.gradient, Fixed), config.memory == "resident"
    return {
        "unit": 1,
        "address": math.log2(config.depth),
        "lane": lanes,
        "weight bit": lanes * weight,
        "gradient bit": lanes * gradient,
        "shifter": lanes * _shifter(config),
        "register bit": lanes * weight * (config.pipeline - 4),
        "clamped bit": lanes * weight * (config.pipeline < 8),
        "float lane": lanes * (not fixed),
        "float bit": lanes * gradient * (not fixed),
        "streamed bit": lanes * weight * (not resident),
        "streamed unit": not resident,
        "updates bit": lanes * weight * config.updates,
    }


def period_terms(part: Part, config: UnitConfig) -> dict[str, float]:
    """Return the terms of the logarithm of the clock's period."""
    fixed, resident = isinstance(config.gradient, Fixed), config.memory == "resident"
    slow_ram = part.family == "ecp5" and resident and pipeline_of(config).read == 1
    return {
        f"speed {part.speed}": 1,
        "lanes": math.log2(config.lanes),
        "many lanes": max(math.log2(config.lanes / 8), 0),
        "weight width": math.log2(config.weight.width),
        "gradient width": math.log2(config.gradient.width) if fixed else 0,
        "float": not fixed,
        "streamed": not resident,
        "RAM without its output register": slow_ram,
        "depth": math.log2(config.rows),
        "short pipeline": max(8 - config.pipeline, 0),
    }


@functools.cache
def load(path: Path = FILE) -> dict[str, Any]:
    """Return the fitted model.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    return dict(json.loads(path.read_text()))


def total(coefficients: dict[str, float], terms: dict[str, float]) -> float:
    """Return the sum of terms times coefficients; a term without one counts nothing."""
    return sum(coefficients.get(name, 0) * value for name, value in terms.items())


def estimate(part: Part, config: UnitConfig, fitted: dict[str, Any] | None = None) -> Estimate:
    """Return what a unit would come to on a part.

    Parameters
    ----------
    part : Part
    config : UnitConfig
    fitted : dict, optional
        The model, default the one in the package.
    """
    fitted = load() if fitted is None else fitted
    family = fitted["families"][part.family]
    terms = area_terms(config)
    logic = round(total(family["logic"], terms))
    ram = blocks(part.family, config)
    return Estimate(
        part=part,
        config=config,
        logic=logic,
        flip_flops=round(total(family["flip-flops"], terms)),
        block_ram=ram,
        clock=1e3 / math.exp(total(fitted["period"], period_terms(part, config))),
        fits=logic <= part.logic and ram <= part.block_ram,
        warnings=tuple(_outside(family["measured"], part, config)),
    )


def _outside(measured: dict[str, list[int]], part: Part, config: UnitConfig) -> list[str]:
    return [
        f"{name} {value} is outside of what was measured on {part.family}: {low} to {high}"
        for name, value in properties(config).items()
        for low, high in [measured[name]]
        if not low <= value <= high
    ]


# -- for people and other programs ----------------------------------------------------------------

SHOWN = ("ecp5-25f-6", "ecp5-85f-6", "hx8k", "up5k", "gw1n-9c", "gw2a-18")
"""Parts that are shown unless others are asked for."""


def row(each: Estimate) -> dict[str, Any]:
    """Return an estimate as plain data."""
    return {
        "part": each.part.name,
        "title": each.part.title,
        "pipeline": each.config.pipeline,
        "logic": each.logic,
        "logic_available": each.part.logic,
        "flip_flops": each.flip_flops,
        "block_ram": each.block_ram,
        "block_ram_available": each.part.block_ram,
        "fits": each.fits,
        "clock": round(each.clock, 1),
        "updates_per_second": float(f"{each.updates_per_second:.3g}"),
        "warnings": list(each.warnings),
    }


def table(some: list[Estimate]) -> list[str]:
    """Return estimates as lines of a table."""
    lines = [
        f"{'part':<12} {'logic':>15} {'registers':>9} {'block RAM':>10} {'pipeline':>8} "
        f"{'MHz':>5} {'updates/s':>10}"
    ]
    lines += [
        f"{each.part.name:<12} {f'{each.logic} of {each.part.logic}':>15} {each.flip_flops:>9} "
        f"{f'{each.block_ram} of {each.part.block_ram}':>10} {each.config.pipeline:>8} "
        f"{each.clock:>5.0f} {each.updates_per_second:>10.3g}{'' if each.fits else '  too large'}"
        for each in some
    ]
    return lines


def accuracy() -> str:
    """Return how far the model is off, for people."""
    fitted = load()
    errors = ", ".join(
        f"{what} {error['median']:.1%} (at most {error['largest']:.0%})"
        for what, error in fitted["errors"].items()
    )
    return (
        f"median error, of the model of {fitted['points']} measured units when it has not seen "
        f"the one in question: {errors}; block RAM is exact"
    )


def rows(config: UnitConfig) -> list[dict[str, Any]]:
    """Return what a unit would come to on some parts, for reports."""
    from dataclasses import replace

    return [
        row(estimate(part, replace(config, pipeline=part.pipeline))) for part in map(find, SHOWN)
    ]
