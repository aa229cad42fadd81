"""A proof by name, and how it is carried out: Yosys makes words of gateware, bitwuzla decides.

Three methods. *Any state*: registers hold anything at first, and after as many clocks as the
component is deep the claims hold. So they hold in every later clock of every run, and the proof
is complete. *Induction*: the claims hold in the first clocks after reset, and wherever they held
for that many clocks they hold in the next; complete too. *Bounded*: the claims hold in the
stated number of clocks after reset, and nothing is said of later ones.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from upshift_hw import yosys
from upshift_sim.formal.btor import Design, parse
from upshift_sim.formal.claims import TOP, Claims
from upshift_sim.formal.search import Counterexample, Search, UndecidedError

Method = Literal["any state", "induction", "bounded"]


@dataclass(frozen=True)
class Proof:
    """Something that is claimed of the gateware.

    Attributes
    ----------
    name : str
        Group and what it is about, such as ``lane/18.16``.
    says : str
        What is claimed, in words.
    claims : callable
        Builds the circuit.
    method : {"any state", "induction", "bounded"}
    quick : bool
        Is run with the tests.
    """

    name: str
    says: str
    claims: Callable[[], Claims]
    method: Method
    quick: bool = False


@dataclass
class Result:
    """How a proof went.

    Attributes
    ----------
    outcome : {"proved", "refuted", "unknown"}
        "unknown" if the solver gave up.
    failed : str
        The claim that does not hold, or what cannot be reached.
    trace : list of dict
        What breaks the claim: inputs by clock, and registers of the first one if these may be
        anything.
    clocks : int
        The last clock looked at, counted from 0; of an induction, the clocks of its hypothesis.
    claims : list of str
    covers : dict
        Clock in which each thing to be reached was reached.
    seconds : float
    """

    outcome: Literal["proved", "refuted", "unknown"] = "proved"
    failed: str = ""
    trace: list[dict[str, int]] = field(default_factory=list)
    clocks: int = 0
    claims: list[str] = field(default_factory=list)
    covers: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


def check(
    proof: Proof, *, fault: int | None = None, within: str = "*", limit: float = 600.0
) -> Result:
    """Carry out a proof.

    Parameters
    ----------
    proof : Proof
    fault : int, optional
        Seed of a one-bit fault in the gateware, which the proof should find.
    within : str
        Pattern of the paths of components that may have the fault, such as ``unit.datapath*``.
    limit : float
        Seconds that the solver may take for one question.

    Raises
    ------
    RuntimeError
        If Yosys fails.
    """
    start = time.perf_counter()
    result = Result()
    claims = proof.claims()
    result.clocks = claims.clocks
    system = design(claims, fault=fault, within=within)
    try:
        _check(proof.method, system, result, limit)
    except UndecidedError:
        result.outcome = "unknown"
    result.seconds = time.perf_counter() - start
    return result


def _check(method: Method, system: Design, result: Result, limit: float) -> None:
    initial = method != "any state"
    search = Search(system, initial=initial, limit=limit)
    result.claims = search.claims
    first = 0 if initial else result.clocks
    found = None
    for clock in range(result.clocks + 1):
        search.assume(clock)
        found = search.violation(clock) if clock >= first else None
        if found:
            break
        if initial:
            search.assert_claims(clock)
    if not found and method == "induction":
        found = _step(system, result.clocks, limit)
    if found:
        result.outcome, result.failed, result.trace = "refuted", found.claim, found.trace
        return
    for name, reached in search.reached(range(first, result.clocks + 1)):
        if reached is None:
            result.outcome, result.failed = "refuted", name
            return
        result.covers[name] = reached


def _step(system: Design, clocks: int, limit: float) -> Counterexample | None:
    """Return how claims that held for some clocks fail in the next, if they can."""
    search = Search(system, initial=False, limit=limit)
    for clock in range(clocks):
        search.assume(clock)
        search.assert_claims(clock)
    search.assume(clocks)
    return search.violation(clocks)


def design(claims: Claims, *, fault: int | None = None, within: str = "*") -> Design:
    """Return the transition system of a circuit.

    Raises
    ------
    RuntimeError
        If Yosys fails.
    """
    text = claims.to_rtlil()
    steps = [f"read_rtlil proof.il; hierarchy -check -top {TOP}; proc"]
    if r"\CCU2C" in text:  # what the cells of an ECP5 do
        steps.insert(0, "read_verilog +/lattice/common_sim.vh +/lattice/ccu2c_sim.vh")
    if fault is not None:
        # Below the top module, so that the claims stay as they are.
        steps.append(f"mutate -list 1 -seed {fault} -mode inv -o fault.ys {TOP}.{within}")
        steps.append("script fault.ys")
    steps.append("flatten; opt_clean; memory_collect; memory_map -formal")
    steps.append("setundef -undriven -anyseq; opt; dffunmap; opt_clean; write_btor proof.btor")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "proof.il").write_text(text)
        yosys.run("; ".join(steps), directory)
        return parse((directory / "proof.btor").read_text())
