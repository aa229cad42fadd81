"""``upshift train``: a network learns through a device, checked bit for bit at every step."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upshift.formats import parse

if TYPE_CHECKING:
    from upshift.device import Device
    from upshift.training import Epoch, Run

EXAMPLES = """\
examples:
  upshift train                                   digits through the compiled RTL, 30 epochs
  upshift train --device model: --epochs 5        through the integer model
  upshift train --optimizer adam                  Adam instead of SGD
  upshift train --gradient bfloat16               gradients as floating-point numbers
  upshift train --report report.html              and write a page about it
  upshift train --checkpoint run.npz              save after every epoch
  upshift train --checkpoint run.npz --resume     go on after an interruption
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
            "from the same start, and all are compared after every step: one by one, or by a "
            "checksum if the device is behind a cable, and then one by one after every epoch."
        ),
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", default="rtl:", metavar="URL", help="default rtl:")
    parser.add_argument("--epochs", type=int, default=30, metavar="N", help="default 30")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default 0")
    parser.add_argument(
        "--optimizer", default="sgd", metavar="NAME", help="sgd or adam, default sgd"
    )
    parser.add_argument(
        "--gradient",
        metavar="FORMAT",
        help="W.F, bfloat16 or float32, default that of the device",
    )
    parser.add_argument("--json", action="store_true", help="print the run as JSON")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write an HTML page")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="save the run in FILE after every epoch"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue the run in the checkpoint, with the same bits; N epochs are those in all",
    )
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


def _check(options: argparse.Namespace) -> None:
    if options.epochs < 1:
        raise ValueError(f"--epochs {options.epochs} is not allowed: 1 or more")
    if not 0 <= options.seed < 2**32:
        raise ValueError(f"--seed {options.seed} is not allowed: 0 to 2**32 - 1")
    for name in ("report", "checkpoint"):
        file = getattr(options, name)
        if file and not file.resolve().parent.is_dir():
            raise ValueError(f"--{name} {file}: there is no such directory")
    if options.resume and not options.checkpoint:
        raise ValueError("--resume needs --checkpoint FILE")
    if options.resume and not options.checkpoint.exists():
        raise ValueError(
            f"there is no such checkpoint {options.checkpoint}: --resume needs one, "
            "and the run without --resume begins it"
        )


def run(options: argparse.Namespace) -> int:
    """Train, print, and return 1 if two holders of the weights ever differed."""
    _check(options)
    phases = _Phases()
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

    from upshift import training

    phases.end("import torch and scikit-learn")
    messages = Console(stderr=True)
    printed = 0
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
                options.device,
                epochs=options.epochs,
                seed=options.seed,
                optimizer=options.optimizer,
                gradient=parse(options.gradient) if options.gradient else None,
                opened=opened,
                checkpoint=options.checkpoint,
                resume=options.resume,
            ):
                bar.update(task, completed=len(outcome.epochs))
                if not options.json:
                    print_epochs(outcome.epochs[printed:], heading=not printed)
                printed = len(outcome.epochs)
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


def print_epochs(epochs: list[Epoch], *, heading: bool) -> None:
    """Print one line about each epoch, and a heading before the first."""
    if heading:
        print("epoch    loss  accuracy   q  zero steps  saturated  updates/s")
    for epoch in epochs:
        print(
            f"{epoch.epoch:5} {epoch.loss:7.4f}  {epoch.accuracy:7.2%} {epoch.q:3} "
            f"{epoch.zero_share:10.1%} {epoch.saturated:10} {epoch.updates_per_second:10.3g}",
            flush=True,
        )


def print_summary(outcome: Run, phases: dict[str, float]) -> None:
    """Print what was learned, what was compared and how long each phase took."""
    compared = f"{outcome.comparisons:,} weights compared"
    if outcome.checksums:
        compared += f" one by one and all of them {outcome.checksums:,} times by checksum"
    print(f"\n{outcome.updates:,} weight updates by {outcome.device}, {compared}, 0 mismatches")
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
        "optimizer": outcome.optimizer,
        "parameters": outcome.parameters,
        "accuracy": outcome.accuracy,
        "updates": outcome.updates,
        "comparisons": outcome.comparisons,
        "checksums": outcome.checksums,
        "mismatch": None,
        "digests": outcome.digests,
        "epochs": [
            asdict(epoch) | {"updates_per_second": epoch.updates_per_second}
            for epoch in outcome.epochs
        ],
        "phases": phases,
    }
