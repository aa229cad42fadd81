"""``upshift experiment``: measures what the quantized equation does to learning."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from upshift import experiments

EXAMPLES = """\
examples:
  upshift experiment --list                        what there is
  upshift experiment forensics --quick             less of the same, in seconds
  upshift experiment forensics --jobs 2            all of it; interrupted, it continues
  upshift experiment forensics --seeds 0-9 --out build/ten --json
  upshift experiment table1 --cifar10 cifar-10-python.tar.gz --seeds 0-2
"""


def add_parser(commands: Any) -> None:
    """Add this command."""
    names = "\n".join(f"  {name:<12} {about}" for name, about in experiments.ABOUT.items())
    parser = commands.add_parser(
        "experiment",
        help="measure what quantization does to learning",
        description=(
            "Run an experiment and write its rows (CSV), its result (JSON), a report and plots.\n"
            "Finished cells are kept: the same command continues an interrupted run.\n\n"
            f"experiments:\n{names}"
        ),
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="which one")
    parser.add_argument("--list", action="store_true", help="list the experiments")
    parser.add_argument(
        "--quick", action="store_true", help="a small form, on digits under a minute"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="for the results, default build/experiments/NAME, or NAME-quick",
    )
    parser.add_argument(
        "-j", "--jobs", type=int, default=1, metavar="N", help="processes, default 1"
    )
    parser.add_argument("--seeds", metavar="N-M", help="two or more, as 0-19")
    parser.add_argument(
        "--cifar10",
        metavar="FILE",
        help="for table1: learn CIFAR-10 from its Python archive, with the paper's ResNet-32",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run an experiment; return 1 if an effect that is known was not there."""
    if options.list:
        _list(as_json=options.json)
        return 0
    if options.name is None:
        raise ValueError(f"NAME is missing: {', '.join(experiments.ABOUT)}")
    if options.jobs < 1:
        raise ValueError(f"--jobs {options.jobs} is not allowed: 1 or more")
    seeds = _seeds(options.seeds)
    try:
        return _run(options, seeds)
    except ImportError as error:
        print(
            f"upshift experiment: needs the package {error.name}, which is not installed: "
            "pip install 'upshift[experiments]', or -e '.[experiments]' where its source lies",
            file=sys.stderr,
        )
        return 1


def _list(*, as_json: bool) -> None:
    if as_json:
        print(json.dumps(experiments.ABOUT, indent=2))
        return
    for name, about in experiments.ABOUT.items():
        print(f"{name:<12} {about}")


def _seeds(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)-(\d+)", text)
    seeds = range(int(found[1]), int(found[2]) + 1) if found else ()
    if len(seeds) < 2:
        raise ValueError(f"--seeds {text!r} is not allowed: a range of two or more, such as 0-19")
    return tuple(seeds)


def _run(options: argparse.Namespace, seeds: tuple[int, ...] | None) -> int:
    experiment = experiments.find(options.name)
    from upshift.experiments import campaign

    settings = experiment.quick if options.quick else experiment.full
    command = f"upshift experiment {options.name}{' --quick' * options.quick}"
    if seeds is not None:
        settings = replace(settings, seeds=seeds)
        command += f" --seeds {options.seeds}"
    name = f"{options.name}{'-quick' * options.quick}"
    if options.cifar10 is not None:
        if not hasattr(settings, "archive"):
            raise ValueError(f"--cifar10 is not allowed with {options.name}: it is for table1")
        settings = replace(settings, archive=str(Path(options.cifar10).resolve()))
        command += f" --cifar10 {options.cifar10}"
        name += "-cifar10"
    directory = options.out or Path("build") / "experiments" / name
    with _progress(options.name) as progress:
        result = campaign.run(
            experiment,
            settings,
            directory,
            form="quick" if options.quick else "full",
            command=command,
            jobs=options.jobs,
            progress=progress,
        )
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        print(f"{experiment.report(result['summary'])}\nresults: {directory}")
    for wrong in result["unexpected"]:
        print(f"upshift experiment: {options.name}: {wrong}", file=sys.stderr)
    return int(bool(result["unexpected"]))


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on the standard error stream; yields what is told of it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

    columns = BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress("{task.description}", *columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name)
        yield lambda done, of: bar.update(task, completed=done, total=of)
