"""``upshift verify``: climb the verification ladder for one configuration."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from upshift.cli import unit_options

EXAMPLES = """\
examples:
  upshift verify
  upshift verify --lanes 4 --weight 16.12 --gradient 16.12 --depth 48 --max-rate 15
  upshift verify --config build/config.json --bursts 1000 --seed 7
  upshift verify --waves waves/              keep the waveforms of the cocotb rungs
  upshift verify --fault 1                   a broken unit: exit status 1
"""


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = commands.add_parser(
        "verify",
        help="compare rationals, integer model, torch, simulators and compiled RTL",
        description=(
            "Play the same weights and bursts on every rung of the verification ladder, and "
            "compare every weight and every report with the integer model's."
        ),
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    unit_options.add_options(parser)
    parser.add_argument("--bursts", type=int, default=200, metavar="N", help="default 200")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default 0")
    parser.add_argument("--waves", type=Path, metavar="DIR", help="where to keep waveforms")
    parser.add_argument("--fault", type=int, metavar="SEED", help="break one bit of the unit")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Climb, print a line per rung, and return 1 if one differs."""
    if options.bursts < 1:
        raise ValueError(f"--bursts {options.bursts} is not allowed: 1 or more")
    from rich.console import Console

    from upshift_sim import ladder

    config = unit_options.from_options(options)
    rungs = []
    if not options.json:
        print(f"unit {config.to_json()}, seed {options.seed}")
        print(f"{'equal to the integer model':<28} {'updates':>9} {'weights':>9} {'reports':>8}")
    with Console(stderr=True).status("") as status:
        for rung in ladder.climb(
            config,
            bursts=options.bursts,
            seed=options.seed,
            fault=options.fault,
            waves=options.waves,
            starting=status.update,
        ):
            rungs.append(rung)
            if not options.json:
                _print(rung)
    failed = any(rung.failure for rung in rungs)
    equal = sum(not rung.failure and not rung.missing for rung in rungs)
    if not options.json:
        print(f"{equal} of {len(rungs)} rungs equal")
    if options.json:
        print(
            json.dumps(
                {
                    "config": json.loads(config.to_json()),
                    "seed": options.seed,
                    "equal": not failed,
                    "rungs": [asdict(rung) for rung in rungs],
                },
                indent=2,
            )
        )
    return int(failed)


def _print(rung: Any) -> None:
    counts = f"{rung.updates:>9,} {rung.weights:>9,} {rung.reports:>8,}"
    verdict = "equal" if not rung.missing else "not run"
    if rung.failure:
        verdict = "DIFFERS"
    print(f"  {rung.name:<26} {counts}  {verdict}, {rung.seconds:.1f} s", flush=True)
    for detail in (rung.failure, rung.missing):
        if detail:
            print(f"    {detail}", file=sys.stderr)
