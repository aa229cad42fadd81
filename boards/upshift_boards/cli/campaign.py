"""``upshift campaign``: how fast units run on FPGAs, and what they need, measured and kept."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upshift.cli import unit_options

if TYPE_CHECKING:
    from upshift_boards.fabric.campaign import Campaign

EXAMPLES = """\
examples:
  upshift campaign point --part ecp5-25f-6 --weight 16.12 --max-rate 15
  upshift campaign point --part hx8k --lanes 4 --seeds 1-12 -j 2 --json
  upshift campaign list                            what 'run' measures, and what it has
  upshift campaign run --only targets -j 2         exit status 1 if one is missed
  upshift campaign run -j 2 -o points.json         everything, half an hour on two cores
  upshift campaign fit points.json -o model.json   what 'upshift estimate' knows
"""


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = commands.add_parser(
        "campaign",
        help="place and route units on FPGAs, measure clock and area",
        description=(
            "Synthesise, place and route units alone, in a harness of registers. Results are "
            "kept: an interrupted run continues, and what has not changed is not done again."
        ),
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    point = actions.add_parser("point", help="one unit on one part, with some seeds")
    unit_options.add_options(point)
    point.add_argument("--part", required=True, metavar="NAME", help="such as ecp5-25f-6 or hx8k")
    point.add_argument("--seeds", default="1", metavar="N[-M]", help="default 1")
    point.add_argument("--clock", type=float, metavar="MHZ", help="to ask for")
    point.set_defaults(act=_point)
    measure = actions.add_parser("run", help="all targets, and what the model learns from")
    measure.add_argument("-o", "--output", type=Path, metavar="FILE", help="gets the points")
    measure.set_defaults(act=_run)
    listed = actions.add_parser("list", help="what 'run' measures")
    listed.set_defaults(act=_list)
    for action in (measure, listed):
        action.add_argument("--only", choices=("targets", "lessons"), help="some of it")
    fit = actions.add_parser("fit", help="make the model of 'upshift estimate' from points")
    fit.add_argument("points", type=Path, metavar="POINTS", help="as 'run' writes them")
    fit.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: the package's own")
    fit.set_defaults(act=_fit)
    for action in (point, measure):
        action.add_argument("-j", "--jobs", type=int, default=1, metavar="N", help="default 1")
    for action in (point, measure, listed, fit):
        action.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do one of the actions."""
    if getattr(options, "jobs", 1) < 1:
        raise ValueError(f"--jobs {options.jobs} is not allowed: 1 or more")
    try:
        return int(options.act(options))
    except ImportError as error:
        print(
            f"upshift campaign: needs the package {error.name}, which is not installed: "
            "pip install 'upshift[boards]'",
            file=sys.stderr,
        )
        return 1


def _seeds(text: str) -> tuple[int, ...]:
    found = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    seeds = range(int(found[1]), int(found[2] or found[1]) + 1) if found else ()
    if not seeds:
        raise ValueError(f"--seeds {text!r} is not allowed: a number, or a range such as 1-12")
    return tuple(seeds)


def _point(options: argparse.Namespace) -> int:
    """Measure one setting."""
    from upshift_boards.fabric import parts
    from upshift_boards.fabric.targets import Setting

    part = parts.find(options.part)
    if options.clock is not None:
        if not 1 <= options.clock <= 1000:
            raise ValueError(f"--clock {options.clock:g} is not allowed: 1 to 1000 MHz")
        part = replace(part, clock=options.clock)
    config = unit_options.from_options(options)
    if options.pipeline is None and options.config is None:
        config = replace(config, pipeline=part.pipeline)
    campaign = _measure([Setting(part, config, _seeds(options.seeds))], options.jobs)
    if options.json:
        print(json.dumps(campaign.points, indent=2))
    elif campaign.points:
        cells = campaign.points[0]["cells"]
        print(f"{part.title}, {config.to_json()}")
        print("unit alone: " + ", ".join(f"{n} {what}" for what, n in cells.items()))
        for point in campaign.points:
            path = point["path"]
            print(
                f"seed {point['seed']:3}: {point['clock']:6.1f} MHz, logic {point['logic']} "
                f"({point['logic'] / config.lanes:.0f} per lane); {path['levels']} levels, "
                f"{path['logic']} ns logic + {path['routing']} ns routing, "
                f"{path['from']} -> {path['to']}"
            )
    return _end(campaign)


def _end(campaign: Campaign) -> int:
    for failure in campaign.failures:
        print(f"upshift campaign: {failure}", file=sys.stderr)
    return int(bool(campaign.failures))


def _measure(settings: list[Any], jobs: int) -> Campaign:
    """Measure settings and show how far that is."""
    from upshift_boards.fabric.campaign import Campaign, cache

    campaign = Campaign(settings, cache())
    with _progress() as progress:
        campaign.run(jobs, progress)
    return campaign


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show two bars on the standard error stream; yields what is told of both."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

    columns = BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress("{task.description:<9}", *columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def progress(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what)
            bars.update(tasks[what], completed=done, total=of)

        yield progress


def _settings(only: str | None) -> list[Any]:
    from upshift_boards.fabric.targets import LESSONS, TARGETS

    lessons = [] if only == "targets" else list(LESSONS)
    return ([] if only == "lessons" else [target.setting for target in TARGETS]) + lessons


def _run(options: argparse.Namespace) -> int:
    """Measure everything, and say which targets are met."""
    from upshift_boards.fabric import campaign as campaigns
    from upshift_boards.fabric import results
    from upshift_boards.fabric.targets import TARGETS

    if options.output is not None and not options.output.resolve().parent.is_dir():
        raise ValueError(f"--output {options.output}: there is no such directory")
    campaign = _measure(_settings(options.only), options.jobs)
    if options.output is not None:
        campaigns.save(campaign.points, options.output)
    judged = [results.judge(target, campaign.points) for target in TARGETS]
    if options.only == "lessons":
        judged = []
    if options.json:
        print(json.dumps({"targets": judged, "points": campaign.points}, indent=2))
    else:
        print("\n".join(map(results.line, judged)))
    missed = any(each["verdict"] in ("missed", "incomplete") for each in judged)
    return _end(campaign) or int(missed)


def _list(options: argparse.Namespace) -> int:
    """Print the settings."""
    settings = _settings(options.only)
    if options.json:
        found = [
            {
                "part": each.part.name,
                "configuration": json.loads(each.config.to_json()),
                "seeds": list(each.seeds),
            }
            for each in settings
        ]
        print(json.dumps(found, indent=2))
        return 0
    for each in settings:
        print(f"{each.part.name:<12}{len(each.seeds):>3} seeds  {each.config.to_json()}")
    return 0


def _fit(options: argparse.Namespace) -> int:
    """Fit the model."""
    from upshift_boards.fabric import campaign, fit, model

    path = options.output or model.FILE
    fitted = fit.fit(campaign.load(options.points))
    fit.save(fitted, path)
    if options.json:
        print(json.dumps(fitted, indent=2))
    else:
        print(f"{path}\n" + "\n".join(fit.describe(fitted)))
    return 0
