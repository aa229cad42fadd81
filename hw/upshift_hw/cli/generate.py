"""``upshift generate``: a unit as Verilog, with everything needed to use and test it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from upshift.cli import unit_options
from upshift_hw.families import PIPELINE

EXAMPLES = """\
examples:
  upshift generate -o build/
  upshift generate --lanes 8 --weight 18.16 --gradient 16.12 --depth 4096 -o build/
  upshift generate --config build/config.json -o again/
  upshift generate --family ecp5 --memory streamed -o build/
  upshift generate --init weights.npy -o build/    a unit that has its weights from power-up on
  upshift generate --shell axi -o build/           with AXI ports, constraints and an IP script
  upshift generate --memory streamed -o build/     weights in a memory outside
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
        "--init",
        type=Path,
        metavar="FILE",
        help="weights that the unit holds at first: .npy, or hexadecimal text",
    )
    parser.add_argument(
        "--family",
        choices=PIPELINE,
        help="FPGA family, whose best depth of pipeline is taken unless --pipeline says otherwise",
    )
    parser.add_argument(
        "--shell", choices=["axi"], help="put the unit behind AXI4-Stream and AXI4-Lite"
    )
    parser.add_argument(
        "--one-clock", action="store_true", help="with --shell: the unit runs with the bus clock"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the test vectors, default 0"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the files and list them."""
    from upshift import initial
    from upshift_hw import generate, generate_axi

    if options.one_clock and options.shell is None:
        raise ValueError("--one-clock is for units with a --shell")
    if options.family is not None and options.pipeline is None:
        options.pipeline = PIPELINE[options.family]
    config = unit_options.from_options(options)
    init = None if options.init is None else initial.load(options.init, config)
    if options.shell is None:
        paths = generate.generate(config, options.output, init=init, seed=options.seed)
    else:
        paths = generate_axi.generate(
            config, options.output, init=init, one_clock=options.one_clock
        )
    for path in paths:
        print(path)
    return 0
