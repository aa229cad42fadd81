"""``upshift estimate``: what a unit would need and reach on FPGAs, in less than a second."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from typing import Any

from upshift.cli import unit_options
from upshift_hw.families import PIPELINE

EXAMPLES = """\
examples:
  upshift estimate
  upshift estimate --lanes 16 --weight 16.12 --gradient bfloat16 --part ecp5-85f-8
  upshift estimate --config build/config.json --family ice40 --json
"""


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = commands.add_parser(
        "estimate",
        help="logic, block RAM, clock and updates per second of a unit on FPGAs",
        description=(
            "Estimate a unit from measured ones ('upshift campaign'). The pipeline is as deep as "
            "is best on each family, unless --pipeline or --config says otherwise."
        ),
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    unit_options.add_options(parser)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--part", metavar="NAME", help="such as ecp5-25f-6 or hx8k, default some")
    where.add_argument("--family", choices=PIPELINE, help="all parts of one")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print a line for each part."""
    from upshift_boards.fabric import model, parts

    config = unit_options.from_options(options)
    chosen = options.pipeline is not None or options.config is not None
    if options.part is not None:
        wanted = [parts.find(options.part)]
    elif options.family is not None:
        wanted = [part for part in parts.PARTS if part.family == options.family]
    else:
        wanted = [parts.find(name) for name in model.SHOWN]
    found = [
        model.estimate(part, config if chosen else replace(config, pipeline=part.pipeline))
        for part in wanted
    ]
    errors = model.load()["errors"]
    if options.json:
        print(json.dumps({"errors": errors, "estimates": [model.row(e) for e in found]}, indent=2))
        return 0
    print(config.to_json())
    print("\n".join(model.table(found)))
    print(model.accuracy())
    for warning in dict.fromkeys(text for each in found for text in each.warnings):
        print(f"warning: {warning}", file=sys.stderr)
    return 0
