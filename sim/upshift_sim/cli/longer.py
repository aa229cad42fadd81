"""The runs of ``upshift verify`` that take minutes or more, each with a bar."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from upshift.cli import unit_options

if TYPE_CHECKING:
    from rich.progress import Progress


@contextmanager
def progress() -> Iterator[Progress]:
    """Show bars on the error stream."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

    columns = BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress("{task.description}", *columns, console=Console(stderr=True)) as bar:
        yield bar


def faults(options: argparse.Namespace) -> int:
    """Damage frames and return 1 if that ever left something wrong."""
    from upshift_sim import campaign

    with progress() as bar:
        task = bar.add_task("faulted frames", total=options.faults)
        for total in campaign.campaign(options.faults, seed=options.seed):
            bar.update(task, completed=min(total.faulted, options.faults))
    if options.json:
        print(json.dumps(campaign.to_json(total), indent=2))
    else:
        print(campaign.to_text(total), end="")
    for wrong in total.wrong:
        print(wrong, file=sys.stderr)
    return int(bool(total.wrong))


def mutants(options: argparse.Namespace) -> int:
    """Break the unit, or its shell, in many ways; return 1 if the benches notice too few."""
    from upshift_sim.mutation import campaign

    config = unit_options.from_options(options)
    with progress() as bar:
        task = bar.add_task("mutants", total=None)
        axi = options.shell is not None
        for state in campaign.campaign(config, options.mutants, seed=options.seed, axi=axi):
            judged = len(state.verdicts)
            open_proofs = len(state.having(campaign.SURVIVED))
            bar.update(
                task,
                total=len(state.mutants),
                completed=judged,
                description=f"mutants, {state.killed} killed, {open_proofs} left",
            )
    result = campaign.to_json(state)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        print(f"{'shell of ' if axi else ''}unit {config.to_json()}, seed {options.seed}")
        for name, row in result["modules"].items():
            counts = ", ".join(f"{n} {what}" for what, n in row.items() if n)
            print(f"  {name:<40} {counts}")
        print(
            f"{state.killed} of {result['mutants']} mutants killed, "
            f"{len(result['equivalent'])} equivalent: {state.score:.1%} of the others"
        )
    for survivor in result["survived"]:
        print(f"survived: {survivor}", file=sys.stderr)
    return int(state.score < campaign.ENOUGH)


def check_counts(options: argparse.Namespace, names: tuple[str, ...]) -> None:
    """Raise ValueError unless the options that are given are 1 or more."""
    for name in names:
        value: Any = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name} {value} is not allowed: 1 or more")


def configurations(options: argparse.Namespace) -> int:
    """Check random configurations and return 1 if one of them is wrong."""
    from upshift_sim import configurations as checked

    with progress() as bar:
        task = bar.add_task("configurations", total=options.random)
        for state in checked.tally(options.random, seed=options.seed):
            last = state.outcomes[-1]
            if last.failure:
                print(f"{last.config.to_json()}\n  {last.failure}", file=sys.stderr)
            bar.update(task, completed=len(state.outcomes))
    result = checked.to_json(state)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        print(
            f"{result['equal']} of {result['configurations']} configurations equal, seed "
            f"{options.seed}: {result['updates']:,} updates, {result['weights']:,} weights and "
            f"{result['reports']:,} reports compared"
        )
    return int(bool(state.failures))


def sweep(options: argparse.Namespace) -> int:
    """Sweep all pairs of words and return 1 if one of them is wrong."""
    from upshift_sim import sweep as swept

    settings = [_setting(text) for text in options.sweep] or list(swept.SETTINGS)
    results = []
    with progress() as bar:
        for rate, resolution in settings:
            task = bar.add_task(f"rate {rate}, resolution {resolution}", total=None)
            for state in swept.sweep(swept.CONFIG, rate, resolution, fault=options.fault):
                bar.update(task, total=swept.PAIRS, completed=state.pairs)
            results.append(state)
            for line in state.shown:
                print(f"rate {rate}, resolution {resolution}: {line}", file=sys.stderr)
    result = swept.to_json(swept.CONFIG, results)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        print(f"unit {swept.CONFIG.to_json()}")
        for state in results:
            print(
                f"  rate {state.rate:>2}, resolution {state.resolution:>2}: {state.pairs:,} pairs, "
                f"{state.mismatches:,} wrong, {state.seconds:.0f} s"
            )
    return int(result["mismatches"] > 0)


def _setting(text: str) -> tuple[int, int]:
    rate, colon, resolution = text.partition(":")
    if not (colon and rate.isdecimal() and resolution.isdecimal()):
        raise ValueError(f"--sweep {text} is not allowed: a rate and a resolution such as 4:6")
    return int(rate), int(resolution)
