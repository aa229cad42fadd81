"""Measures a link: how much of the line carries payload, how long an answer takes, what it costs.

On a virtual board, time is the board's own and the simulation's share of the processor is left out,
so the numbers are those of the protocol and of the driver. On a real line, time is the clock on
the wall.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upshift.device.link import LinkDevice
from upshift.words import word_bytes

BITS_PER_BYTE = 10
"""Of a serial line: a start bit, eight data bits, a stop bit."""

ZERO_SHARE = 0.8
"""Gradients that are zero in the masked bursts; in training, 65 to 90 % of the steps are."""

ROUND_TRIPS = 20
"""Requests of the latency mode, one after the other."""

_BURSTS = 4
_TESTS = 16


@dataclass(frozen=True)
class Row:
    """One mode and what it came to.

    Attributes
    ----------
    what : str
    seconds : float
    payload : int
        Bytes that the user of the link wanted to have carried; 0 where encoding makes them fewer.
    line : int
        Bytes that the line carried, in the direction of the payload.
    efficiency : float
        Payload over what the line could have carried in these seconds.
    host_share : float
        Processor time of the driver over `seconds`.
    updates : int
        Weights that were updated.
    """

    what: str
    seconds: float
    payload: int
    line: int
    efficiency: float
    host_share: float
    updates: int

    @property
    def updates_per_second(self) -> float:
        """Weights updated per second."""
        return self.updates / self.seconds


def measure(device: LinkDevice, doing: Callable[[str], None] = lambda what: None) -> list[Row]:
    """Run all modes.

    Parameters
    ----------
    device : LinkDevice
        Its weights are lost.
    doing : callable, optional
        Called with the name of each mode before it runs.
    """
    depth, word = device.config.depth, word_bytes(device.config.gradient.width)
    half = device.identity["frame_bytes"] // 2
    quarter = np.random.default_rng(0).bytes(half // 2)
    masked, dense = _gradients(device)
    device.write(0, np.zeros(depth, np.int64))
    device.read_status()
    modes: list[tuple[str, Callable[[], object], int, int]] = [
        ("source", lambda: device.test(half, repeats=_TESTS), _TESTS * half, 0),
        ("sink", lambda: device.test(0, quarter, repeats=_TESTS), _TESTS * len(quarter), 0),
        (
            "loopback",
            lambda: device.test(len(quarter), quarter, repeats=_TESTS),
            _TESTS * len(quarter),
            0,
        ),
        ("latency", lambda: [device.test(0) for _ in range(ROUND_TRIPS)], 0, 0),
        ("update, dense", lambda: _update(device, dense), _BURSTS * depth * word, _BURSTS * depth),
        ("update, masked", lambda: _update(device, masked), 0, _BURSTS * depth),
        ("update, dense, read back", lambda: _read_back(device, dense), depth * word, depth),
    ]
    rows = []
    for what, run, payload, updates in modes:
        doing(what)
        rows.append(_timed(device, what, run, payload, updates))
    return rows


def summary(rows: list[Row]) -> dict[str, float]:
    """Return the numbers that say what a line rate is worth in updates."""
    by_name = {row.what: row for row in rows}
    masked = by_name["update, masked"]
    return {
        "dense_efficiency": by_name["update, dense"].efficiency,
        "masked_bytes_per_update": masked.line / masked.updates,
        "masked_zero_share": ZERO_SHARE,
        "round_trip": by_name["latency"].seconds / ROUND_TRIPS,
    }


def _timed(
    device: LinkDevice, what: str, run: Callable[[], object], payload: int, updates: int
) -> Row:
    direction = "bytes_received" if what == "source" else "bytes_sent"
    line, clock, processor = device.statistics()[direction], device.transport.now(), _own(device)
    run()
    line = device.statistics()[direction] - line
    seconds, processor = device.transport.now() - clock, _own(device) - processor
    capacity = seconds * device.identity["baud"] / BITS_PER_BYTE
    return Row(what, seconds, payload, line, payload / capacity, processor / seconds, updates)


def _own(device: LinkDevice) -> float:
    """Return the processor time of this process that was not spent on a simulation."""
    return time.process_time() - float(getattr(device.transport, "simulating", 0.0))


def _gradients(device: LinkDevice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return bursts over all weights: one where most steps are zero, one where none is."""
    config, rng = device.config, np.random.default_rng(0)
    top = 1 << (config.gradient.width - 2)
    dense = rng.integers(top // 2, top, config.depth) * rng.choice([-1, 1], config.depth)
    return np.where(rng.random(config.depth) < ZERO_SHARE, 0, dense), dense


def _update(device: LinkDevice, gradients: NDArray[np.int64], bursts: int = _BURSTS) -> None:
    resolution = device.config.max_resolution
    pending = [device.submit(0, gradients, rate=0, resolution=resolution) for _ in range(bursts)]
    for burst in pending:
        burst.result()


def _read_back(device: LinkDevice, gradients: NDArray[np.int64]) -> None:
    _update(device, gradients, 1)
    device.read(0, gradients.size)
