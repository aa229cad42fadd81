"""When a board pays: what links can carry, against what this computer computes by itself.

The link's efficiency and the bytes of an update come from `docs/results/link.json`, which
`upshift bench --link --json` wrote; the fabric's clock from the results of the builds; the
computer's own step is measured here.
"""

from __future__ import annotations

import io
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch

from upshift.formats import Fixed
from upshift.optim import Constant, QtSGD

LINKS = {
    "UART, 115,200 baud": 11_520,
    "UART, 1 Mbaud": 100_000,
    "UART, 3 Mbaud": 300_000,
    "FT245 synchronous FIFO": 40_000_000,
    "USB high speed, bulk": 53_000_000,
    "AXI DMA, 32 bit at 100 MHz": 400_000_000,
}
"""Bytes per second that a link carries at best. Only the UART exists here; the others are limits
from their data sheets, so that a reader can see what a faster link would change."""

PARAMETERS = 1_000_000
ROUNDS = 15


@dataclass(frozen=True)
class Format:
    """How gradients travel: bytes per update, everything around them included."""

    name: str
    bytes_per_update: float


def formats(link: dict[str, float]) -> list[Format]:
    """Return the gradient formats, with the overhead and the sparsity that were measured."""
    share = link["dense_efficiency"]
    return [
        Format("float32", 4 / share),
        Format("16-bit, dense", 2 / share),
        Format("8-bit, dense", 1 / share),
        Format("16-bit, masked", link["masked_bytes_per_update"]),
    ]


def own_steps() -> dict[str, float]:
    """Return this computer's updates per second on one core, median of several rounds."""
    torch.set_num_threads(1)
    rates = {}
    for name, make in (
        (
            "QtSGD, weights 18.16",
            lambda p: QtSGD(p, 2**-4, resolution=Constant(12), weight=Fixed(18, 16)),
        ),
        ("torch.optim.SGD", lambda p: torch.optim.SGD(p, 2**-4)),
    ):
        parameter = torch.nn.Parameter(torch.randn(PARAMETERS).clamp(-1, 1))
        parameter.grad = torch.randn(PARAMETERS)
        optimizer = make([parameter])
        seconds = []
        for _ in range(ROUNDS):
            clock = time.perf_counter()
            optimizer.step()
            seconds.append(time.perf_counter() - clock)
        rates[name] = PARAMETERS / statistics.median(seconds)
    return rates


def table(link: dict[str, float], fabric: float, own: dict[str, float]) -> str:
    """Return updates per second of each link and format, slowest first, and their ratio."""
    (name, step), *others = own.items()
    kinds = formats(link)
    lines = [
        f"| link | {' | '.join(kind.name for kind in kinds)} |",
        f"|---|{'---:|' * len(kinds)}",
    ]
    for title, rate in LINKS.items():
        cells = []
        for kind in kinds:
            updates = min(rate / kind.bytes_per_update, fabric)
            bold = "**" if updates > step else ""
            cells.append(f"{bold}{updates:.2g}/s, {updates / step:.2g}x{bold}")
        lines.append(f"| {title} | {' | '.join(cells)} |")
    beside = "; ".join(f"{other} {rate:.2g}/s" for other, rate in others)
    return "\n".join(lines) + (
        f"\n\nThis computer, one core, {PARAMETERS:,} parameters: "
        f"{name} {step:.2g}/s (1x); {beside}. "
        f"The fabric of a ULX3S 25F: {fabric:.2g}/s. "
        f"Masked bursts: {link['masked_zero_share']:.0%} zeros.\n"
    )


def plot(link: dict[str, float], fabric: float, own: dict[str, float]) -> str:
    """Return the ratio of board to host over the host's own speed, as an SVG."""
    mpl.use("svg")
    from matplotlib import pyplot as plt

    dense = next(kind for kind in formats(link) if kind.name == "16-bit, dense")
    hosts = [10.0**n for n in range(3, 11)]
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "upshift"}):
        figure, axes = plt.subplots(figsize=(7.2, 4.0), layout="constrained")
        axes.axhspan(1, 1e4, color="#dcefdc", zorder=0)
        axes.text(1.3e3, 3e3, "the board is faster", color="#2d6a2d")
        axes.text(1.3e3, 2e-4, "the host is faster", color="#8a3030")
        for name, rate in LINKS.items():
            updates = min(rate / dense.bytes_per_update, fabric)
            axes.plot(hosts, [updates / host for host in hosts], label=name)
        for name, rate in own.items():
            axes.axvline(rate, color="#555", linestyle=":", linewidth=1)
            axes.text(rate, 1.2e-4, f" {name}", rotation=90, va="bottom", ha="right", fontsize=8)
        axes.set(xscale="log", yscale="log", ylim=(1e-4, 1e4), xlim=(hosts[0], hosts[-1]))
        axes.set_xlabel("updates per second that the host computes by itself")
        axes.set_ylabel("board's updates per second / host's")
        axes.grid(alpha=0.25)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
        figure.patch.set_facecolor("#fbfcfe")
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
        plt.close(figure)
    return stream.getvalue()


def link_table(result: dict[str, Any]) -> str:
    """Return what `upshift bench --link --json` has measured."""
    lines = [
        "| mode | line, bytes/s | payload | updates/s | host |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        payload = f"{row['efficiency']:.1%}" if row["payload"] else ""
        updates = f"{row['updates'] / row['seconds']:,.0f}" if row["updates"] else ""
        lines.append(
            f"| {row['what']} | {row['line'] / row['seconds']:,.0f} | {payload} | {updates} "
            f"| {row['host_share']:.1%} |"
        )
    identity = result["identity"]
    return "\n".join(lines) + (
        f"\n\n`{result['url']}`, {identity['baud']:,} baud, frames of "
        f"{identity['frame_bytes']:,} bytes. A short query is answered after "
        f"{1e3 * result['round_trip']:.2f} ms.\n"
    )


def read(results: Path) -> tuple[dict[str, float], float]:
    """Return the link's measured numbers, and the fabric's updates per second."""
    link = json.loads((results / "link.json").read_text())
    board = json.loads((results / "boards" / "ulx3s_25f.json").read_text())
    fabric = 1e6 * board["clock"]["target"] * board["configuration"]["lanes"]
    return link, fabric
