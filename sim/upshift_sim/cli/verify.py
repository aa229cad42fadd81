"""``upshift verify``: climb the ladder, replay it on a device, or one of the longer proofs."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import upshift.device
from upshift.cli import unit_options
from upshift_sim.cli import longer

if TYPE_CHECKING:
    from upshift_sim.replay import Replay

EXAMPLES = """\
examples:
  upshift verify
  upshift verify --lanes 4 --weight 16.12 --gradient 16.12 --depth 48 --max-rate 15
  upshift verify --config build/config.json --bursts 1000 --seed 7
  upshift verify --waves waves/              keep the waveforms of the cocotb rungs
  upshift verify --fault 1                   a broken unit: exit status 1
  upshift verify --device virtual:ulx3s      replay the vectors on a board
  upshift verify --device serial:///dev/ttyUSB0 --board ulx3s_25f --json
  upshift verify --faults 10000              damage frames on the way to a compiled board
  upshift verify --mutants 100               would the benches notice a broken unit?
  upshift verify --mutants 100 --shell axi   a broken AXI shell?
  upshift verify --random 20 --seed 3        20 random configurations
  upshift verify --sweep 0:12 4:6            all pairs of 16-bit words, at two rates and resolutions
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
    instead = parser.add_argument_group("instead of the ladder")
    instead.add_argument("--device", metavar="URL", help="replay the vectors on this device only")
    instead.add_argument(
        "--board",
        metavar="NAME",
        help="the board's name, as 'upshift build' knows it, for a result to submit",
    )
    instead.add_argument(
        "--faults", type=int, metavar="N", help="damage N frames on the line to a compiled board"
    )
    instead.add_argument(
        "--mutants", type=int, metavar="N", help="break N bits of the netlist, one at a time"
    )
    instead.add_argument(
        "--shell",
        choices=["axi"],
        help="with --mutants: break what is around the unit, not the unit",
    )
    instead.add_argument(
        "--random", type=int, metavar="N", help="build, lint and run N random configurations"
    )
    instead.add_argument(
        "--sweep",
        nargs="*",
        metavar="K:Q",
        help="all 2**32 pairs of a weight and a gradient at these rates and resolutions",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Check what was asked for and return 1 if something differs."""
    instead = {
        "device": _replay,
        "faults": longer.faults,
        "mutants": longer.mutants,
        "random": longer.configurations,
        "sweep": longer.sweep,
    }
    longer.check_counts(options, ("bursts", "faults", "mutants", "random"))
    given = [name for name in instead if getattr(options, name) is not None]
    if len(given) > 1:
        raise ValueError(f"--{given[0]} and --{given[1]} are not allowed together")
    if options.shell and options.mutants is None:
        raise ValueError("--shell is for --mutants")
    described = unit_options.given(options)
    if described and given and given != ["mutants"]:
        raise ValueError(f"{described[0]} is not allowed with --{given[0]}, which has its own unit")
    if given:
        return instead[given[0]](options)
    return _climb(options)


def _climb(options: argparse.Namespace) -> int:
    """Climb the ladder, printing a line per rung."""
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


def _replay(options: argparse.Namespace) -> int:
    """Replay the vectors on a device and print the result to submit."""
    from upshift_sim.replay import replay

    with upshift.device.open(options.device) as device:
        outcome = replay(device, bursts=options.bursts, seed=options.seed)
        # A board says more of itself than its unit's registers hold: its clock and line rate too.
        identity = outcome.identity | getattr(device, "identity", {})
    if options.json:
        print(json.dumps(_submission(options, outcome, identity), indent=2))
    else:
        verdict = "DIFFERS" if outcome.failure else "equal"
        print(
            f"{options.device}, unit {outcome.config.to_json()}, seed {options.seed}\n"
            f"{outcome.updates:,} updates, {outcome.weights:,} weights and {outcome.reports:,} "
            f"reports compared with the integer model: {verdict}, {outcome.seconds:.1f} s"
        )
    if outcome.failure:
        print(f"  {outcome.failure}", file=sys.stderr)
    return int(bool(outcome.failure))


def _submission(
    options: argparse.Namespace, outcome: Replay, identity: dict[str, int]
) -> dict[str, Any]:
    """Return what a board's page needs to know of a replay."""
    return {
        "board": options.board,
        "url": options.device,
        "date": time.strftime("%Y-%m-%d"),
        "identity": identity,
        "config": json.loads(outcome.config.to_json()),
        "digest": outcome.config.digest,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("upshift", "numpy")},
        },
        **{
            name: getattr(outcome, name)
            for name in ("seed", "bursts", "updates", "weights", "reports", "failure", "seconds")
        },
        "equal": not outcome.failure,
    }
