"""``upshift train``: a network learns through a device, checked bit for bit at every step."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from upshift.device import Device
    from upshift.training import Run

EXAMPLES = """\
examples:
  upshift train                                   digits through the compiled RTL, 30 epochs
  upshift train --device model: --epochs 5        through the integer model
  upshift train --report report.html              and write a page about it
  upshift train --device 'rtl:?fault=1'           a broken unit: exit status 1
"""


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = commands.add_parser(
        "train",
        help="train the digits network through a device, compared bit for bit",
        description=(
            "Train a convolutional network on handwritten digits. The device holds the weights "
            "and computes every update; torch and the integer model hold weights of their own "
            "from the same start, and all are compared after every step."
        ),
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", default="rtl:", metavar="URL", help="default rtl:")
    parser.add_argument("--epochs", type=int, default=30, metavar="N", help="default 30")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default 0")
    parser.add_argument("--json", action="store_true", help="print the run as JSON")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write an HTML page")
    parser.set_defaults(run=run)


class _Phases:
    """Times what happens one after another."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def end(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now


def run(options: argparse.Namespace) -> int:
    """Train, print, and return 1 if two holders of the weights ever differed."""
    if options.epochs < 1:
        raise ValueError(f"--epochs {options.epochs} is not allowed: 1 or more")
    if not 0 <= options.seed < 2**32:
        raise ValueError(f"--seed {options.seed} is not allowed: 0 to 2**32 - 1")
    if options.report and not options.report.resolve().parent.is_dir():
        raise ValueError(f"--report {options.report}: there is no such directory")
    phases = _Phases()
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

    from upshift import training

    phases.end("import torch and scikit-learn")
    messages = Console(stderr=True)
    try:
        with Progress(
            "{task.description}",
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=messages,
        ) as bar:
            task = bar.add_task(f"open {options.device}", total=options.epochs)

            def opened(device: Device) -> None:
                phases.end(f"open {options.device}")
                phases.seconds |= {f"  {name}": took for name, took in device.opening.items()}
                bar.update(task, description="train")

            for outcome in training.train(
                options.device, epochs=options.epochs, seed=options.seed, opened=opened
            ):
                bar.update(task, completed=len(outcome.epochs))
                if not options.json:
                    print_epoch(outcome)
    except training.MismatchError as error:
        print(f"MISMATCH at {error}", file=sys.stderr)
        if options.json:
            print(json.dumps({"device": options.device, "mismatch": str(error)}))
        return 1
    phases.end("train and compare")

    if options.report:
        from upshift import page

        options.report.write_text(page.render(outcome, phases.seconds))
        phases.end("write the report")
    if options.json:
        print(json.dumps(to_json(outcome, phases.seconds), indent=2))
    else:
        print_summary(outcome, phases.seconds)
        if options.report:
            print(f"report: {options.report}")
    return 0


def print_epoch(outcome: Run) -> None:
    """Print one line about the last epoch, and a heading before the first."""
    epoch = outcome.epochs[-1]
    if len(outcome.epochs) == 1:
        print("epoch    loss  accuracy   q  zero steps  saturated  updates/s")
    print(
        f"{epoch.epoch:5} {epoch.loss:7.4f}  {epoch.accuracy:7.2%} {epoch.q:3} "
        f"{epoch.zero_share:10.1%} {epoch.saturated:10} {epoch.updates_per_second:10.3g}",
        flush=True,
    )


def print_summary(outcome: Run, phases: dict[str, float]) -> None:
    """Print what was learned, what was compared and how long each phase took."""
    print(
        f"\n{outcome.updates:,} weight updates by {outcome.device}, "
        f"{outcome.comparisons:,} weights compared, 0 mismatches"
    )
    for name, digest in outcome.digests.items():
        print(f"SHA-256 of the weights  {name:<7} {digest}")
    print(f"test accuracy {outcome.accuracy:.2%}\n")
    for name, seconds in phases.items():
        print(f"{seconds:7.1f} s  {name}")


def to_json(outcome: Run, phases: dict[str, float]) -> dict[str, Any]:
    """Return the run as plain data."""
    return {
        "device": outcome.device,
        "config": json.loads(outcome.config.to_json()),
        "seed": outcome.seed,
        "parameters": outcome.parameters,
        "accuracy": outcome.accuracy,
        "updates": outcome.updates,
        "comparisons": outcome.comparisons,
        "mismatch": None,
        "digests": outcome.digests,
        "epochs": [
            asdict(epoch) | {"updates_per_second": epoch.updates_per_second}
            for epoch in outcome.epochs
        ],
        "phases": phases,
    }
