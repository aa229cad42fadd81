"""Options that describe a unit, shared by the commands that take one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from upshift.config import Holding, UnitConfig

_FIELDS = ("lanes", "weight", "gradient", "depth", "max_rate", "memory", "updates", "pipeline")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a unit to a parser."""
    default = UnitConfig()
    group = parser.add_argument_group("the unit")
    group.add_argument(
        "--config", type=Path, metavar="FILE", help="JSON file, as `upshift generate` writes it"
    )
    group.add_argument("--lanes", type=int, metavar="N", help=f"default {default.lanes}")
    group.add_argument("--weight", metavar="W.F", help=f"default {default.weight}")
    group.add_argument(
        "--gradient", metavar="FORMAT", help=f"W.F, bfloat16 or float32, default {default.gradient}"
    )
    group.add_argument("--depth", type=int, metavar="N", help=f"weights, default {default.depth}")
    group.add_argument(
        "--max-rate", type=int, metavar="K", help=f"default {default.max_rate}, for 2**-K"
    )
    group.add_argument(
        "--memory", choices=get_args(Holding), help=f"where weights are, default {default.memory}"
    )
    group.add_argument(
        "--updates", action="store_true", default=None, help="also send the rows that are updated"
    )
    group.add_argument(
        "--pipeline", type=int, metavar="N", help=f"clocks to a write, default {default.pipeline}"
    )


def from_options(options: argparse.Namespace) -> UnitConfig:
    """Return the unit that the options describe; single options override the file's."""
    values = {}
    if options.config is not None:
        values = UnitConfig.read_mapping(options.config.read_text())
    for name in _FIELDS:
        if getattr(options, name) is not None:
            values[name] = getattr(options, name)
    return UnitConfig.from_mapping(values)


def given(options: argparse.Namespace) -> list[str]:
    """Return the options of a unit that were given, as they are typed."""
    names = [name for name in ("config", *_FIELDS) if getattr(options, name) is not None]
    return ["--" + name.replace("_", "-") for name in names]
