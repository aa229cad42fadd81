"""``upshift build``: the bitstream of a board, with tools that pip installed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

EXAMPLES = """\
examples:
  upshift build --list
  upshift build ulx3s_25f                     writes build/ulx3s_25f.bit and .json
  upshift build icebreaker -o out/ --json
  upshift build ulx3s_85f --config unit.json  another unit than the board's own
  upshift build ulx3s --init weights.npy      with weights in the bitstream
"""


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = commands.add_parser(
        "build",
        help="make the bitstream of a board",
        description=(
            "Elaborate, synthesise, place, route and pack the gateware of a board. The result "
            "is claimed only if the board's clock is reached."
        ),
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "board", nargs="?", metavar="BOARD", help="name, or the beginning of one, such as ulx3s"
    )
    what.add_argument("--list", action="store_true", help="list the boards")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("build"), metavar="DIR", help="default build"
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="a unit as JSON, instead of the board's own"
    )
    parser.add_argument(
        "--init",
        type=Path,
        metavar="FILE",
        help="weights that the unit holds at first: .npy, or hexadecimal text",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Build a board, or list them all."""
    try:
        from upshift_boards import BOARDS, build, find, tools

        if options.list:
            print(_listed(BOARDS, as_json=options.json))
            return 0
        board = find(options.board)
        if options.config is not None:
            from upshift.config import UnitConfig

            board = replace(board, config=UnitConfig.from_json(options.config.read_text()))
        init = None
        if options.init is not None:
            from upshift import initial

            init = initial.load(options.init, board.config)
        with _progress(f"{board.title}, {board.device}", build.PHASES) as started:
            numbers = build.build(board, options.output, init=init, started=started)
    except ImportError as error:
        print(
            f"upshift build: needs the package {error.name}, which is not installed: "
            "pip install 'upshift[boards]'",
            file=sys.stderr,
        )
        return 1
    except tools.BuildError as error:
        print(f"upshift build: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(numbers))
    else:
        print("\n".join(_lines(numbers, build.bitstream(board, options.output))))
    return 0


def _listed(boards: tuple[Any, ...], *, as_json: bool) -> str:
    if as_json:
        return json.dumps(
            [
                {
                    "board": board.name,
                    "title": board.title,
                    "device": board.device,
                    "clock": board.clock,
                    "baud": board.baud,
                    "configuration": json.loads(board.config.to_json()),
                    "notes": board.notes,
                }
                for board in boards
            ]
        )
    return "\n".join(
        f"{board.name:<16}{board.title}, {board.device}: "
        f"{board.config.depth} weights of {board.config.weight}, {board.config.lanes} lanes, "
        f"{board.clock / 1e6:g} MHz, {board.baud} baud"
        for board in boards
    )


@contextmanager
def _progress(title: str, phases: tuple[str, ...]) -> Iterator[Callable[[str], None]]:
    """Show the phases on the standard error stream; yields what is told of each."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    console.print(title)
    columns = (SpinnerColumn(finished_text=" "), TextColumn("{task.description}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        tasks = {phase: progress.add_task(phase, start=False, total=1) for phase in phases}

        def started(phase: str) -> None:
            for other, task in tasks.items():
                if other == phase:
                    progress.start_task(task)
                    return
                progress.update(task, completed=1)

        yield started
        progress.update(tasks[phases[-1]], completed=1)


def _lines(numbers: dict[str, Any], bitstream: Path) -> Iterator[str]:
    """Yield what a build came to, for people."""
    clock, used = numbers["clock"], numbers["resources"]
    slowest = min(reached["reached"] for reached in clock["clocks"].values())
    yield f"bitstream   {bitstream}, {numbers['bitstream']['bytes']} bytes"
    yield f"SHA-256     {numbers['bitstream']['sha256']}"
    yield f"unit        {numbers['digest']}"
    yield (
        f"clock       {clock['target']:g} MHz wanted, {slowest:.1f} MHz reached, "
        f"worst slack {clock['slack']:.2f} ns"
    )
    counts = ", ".join(f"{n} {what}" for what, n in numbers["cells"].items())
    yield f"cells       {counts}"
    for what, number in used.items():
        yield f"{what:<12}{number['used']} of {number['available']}"
    yield f"seconds     {numbers['seconds']:.0f}"
