"""What is measured: the units that have a target, and those that teach the model.

A setting is a unit on a part with some seeds. The targets are those of the project, for 16-bit
weights and gradients: the worst of twelve seeds must reach them, or of fewer where there is no
target or a unit is large. The model's settings vary
one property of that unit at a time, and several together where they matter together; most have
few lanes, since those are placed in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from upshift.config import UnitConfig
from upshift_boards.fabric.parts import Part, find

SEEDS = tuple(range(1, 13))
"""Of place and route, where a target is judged."""


@dataclass(frozen=True)
class Setting:
    """A unit on a part.

    Attributes
    ----------
    part : Part
    config : UnitConfig
    seeds : tuple of int
    """

    part: Part
    config: UnitConfig
    seeds: tuple[int, ...] = (1,)


@dataclass(frozen=True)
class Target:
    """What a setting is to reach.

    Attributes
    ----------
    setting : Setting
    clock : float or None
        MHz that the worst seed must reach; None if it is only reported.
    tables : float or None
        Look-up tables per lane, those of carry cells included, that it must stay below.
    """

    setting: Setting
    clock: float | None = None
    tables: float | None = None


def setting(part: str, seeds: tuple[int, ...] = (1,), **unit: Any) -> Setting:
    """Return a setting of the standard unit with some properties changed, formats by name."""
    found = find(part)
    standard = {"weight": "16.12", "max_rate": 15, "pipeline": found.pipeline}
    return Setting(found, UnitConfig.from_mapping(standard | unit), seeds)


_DEFAULT = {"weight": "18.16", "max_rate": 31}

TARGETS = (
    Target(setting("ecp5-25f-6", SEEDS), clock=200, tables=195),
    Target(setting("ecp5-25f-6", SEEDS, memory="streamed"), clock=200, tables=195),
    Target(setting("ecp5-25f-6", SEEDS[:3], **_DEFAULT)),
    Target(setting("ecp5-25f-6", SEEDS[:3], **_DEFAULT, memory="streamed")),
    Target(setting("hx8k", SEEDS), clock=150),
    Target(setting("hx8k", SEEDS[:3], **_DEFAULT)),
    Target(setting("up5k", SEEDS), clock=60),
    Target(setting("ecp5-85f-6", SEEDS[:2], lanes=32), clock=150, tables=195),
    Target(setting("gw1n-9c", SEEDS)),
    Target(setting("gw2a-18", SEEDS)),
)
"""In the order of the table in the docs."""

_VARIED: dict[str, tuple[dict[str, Any], ...]] = {
    "lanes": tuple({"lanes": lanes} for lanes in (1, 2, 4, 16)),
    "weights": (
        {"lanes": 4, "weight": "8.6"},
        {"lanes": 4, "weight": "12.8"},
        {"lanes": 2, "weight": "24.20", "depth": 2048},
        {"lanes": 2, "weight": "32.28", "max_rate": 31, "depth": 1024},
    ),
    "gradients": (
        {"lanes": 4, "gradient": "8.4"},
        {"lanes": 2, "gradient": "24.16"},
        {"lanes": 2, "gradient": "32.24", "weight": "24.20", "depth": 1024},
    ),
    "floats": (
        {"lanes": 4, "gradient": "bfloat16"},
        {"lanes": 2, "gradient": "float32"},
        {"lanes": 8, "gradient": "bfloat16", **_DEFAULT},
    ),
    "pipelines": tuple({"lanes": 4, "pipeline": clocks} for clocks in (4, 5, 6, 7, 8, 9)),
    "depths": ({"lanes": 4, "depth": 512}, {"lanes": 4, "depth": 16384}),
    "streams": (
        {"lanes": 1, "memory": "streamed"},
        {"lanes": 4, "memory": "streamed", "depth": 65536},
        {"lanes": 4, "memory": "streamed", "gradient": "bfloat16", **_DEFAULT},
        {"lanes": 4, "updates": True},
    ),
}
"""Units to learn from, by what varies."""

_PARTS: dict[str, tuple[str, ...]] = {
    "ecp5-25f-6": tuple(_VARIED),
    "hx8k": ("lanes", "weights", "gradients", "floats", "pipelines", "streams"),
    "up5k": ("lanes", "weights", "floats", "pipelines", "streams"),
    "gw1n-9c": ("weights", "gradients", "streams"),
    "gw2a-18": ("lanes", "pipelines", "floats"),
}
_TOO_LARGE = (
    ("up5k", {"lanes": 16}),
    ("up5k", {"lanes": 8, "gradient": "bfloat16", **_DEFAULT}),
)

_EXTRA = (
    setting("ecp5-25f-8"),
    setting("ecp5-45f-7"),
    setting("ecp5-85f-8", lanes=4, memory="streamed"),
    setting("ecp5-25f-8", lanes=2, gradient="float32"),
    setting("ecp5-25f-7", lanes=4),
    setting("ecp5-85f-6", lanes=16, depth=65536),
)


def _lessons() -> Iterator[Setting]:
    for part, kinds in _PARTS.items():
        for kind in kinds:
            for unit in _VARIED[kind]:
                if (part, unit) not in _TOO_LARGE:
                    yield setting(part, **unit)
    yield from _EXTRA


LESSONS = tuple(dict.fromkeys(_lessons()))
"""What the model learns from, beside the targets."""
