"""``upshift generate``: a unit as Verilog, with everything needed to use and test it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from upshift.cli import unit_options

EXAMPLES = """\
examples:
  upshift generate -o build/
  upshift generate --lanes 8 --weight 18.16 --gradient 16.12 --depth 4096 -o build/
  upshift generate --config build/config.json -o again/
"""


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = commands.add_parser(
        "generate",
        help="write the Verilog of a unit, its registers, vectors and testbench",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    unit_options.add_options(parser)
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="where to write"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the test vectors, default 0"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the files and list them."""
    from upshift_hw.generate import generate

    config = unit_options.from_options(options)
    for path in generate(config, options.output, seed=options.seed):
        print(path)
    return 0
