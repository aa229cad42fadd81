"""Asks the solver about a design: can a claim fail, can something be reached."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import bitwuzla
from bitwuzla import Kind

from upshift_sim.formal.btor import Design
from upshift_sim.formal.claims import ASSUME, CLAIM, COVER
from upshift_sim.formal.unroll import Term, Unrolling


class UndecidedError(Exception):
    """The solver gave up."""


@dataclass
class Counterexample:
    """A run that breaks a claim.

    Attributes
    ----------
    claim : str
    trace : list of dict
        Inputs by clock, and the registers of the first one.
    """

    claim: str
    trace: list[dict[str, int]]


class Search:
    """One solver over one unrolling.

    Parameters
    ----------
    system : Design
    initial : bool
        The first clock follows a reset.
    limit : float
        Seconds for one question.

    Attributes
    ----------
    claims : list of str
    """

    def __init__(self, system: Design, *, initial: bool, limit: float):
        self._assumptions = _named(system, ASSUME)
        self.claims = _named(system, CLAIM)
        self._covers = _named(system, COVER)
        self._terms = bitwuzla.TermManager()
        options = bitwuzla.Options()
        options.set(bitwuzla.Option.PRODUCE_MODELS, True)
        options.set(bitwuzla.Option.TIME_LIMIT_PER, int(limit * 1000))
        self._solver = bitwuzla.Bitwuzla(self._terms, options)
        roots = self._assumptions + self.claims + self._covers
        self._unrolling = Unrolling(system, self._terms, roots=roots, initial=initial)
        self._clocks = 0

    def assume(self, clock: int) -> None:
        """Leave out runs that break an assumption in this clock."""
        self._clocks = clock + 1
        for name in self._assumptions:
            self._solver.assert_formula(self._is(name, clock, 1))

    def assert_claims(self, clock: int) -> None:
        """Leave out runs that break a claim in this clock."""
        for name in self.claims:
            self._solver.assert_formula(self._is(name, clock, 1))

    def violation(self, clock: int) -> Counterexample | None:
        """Return a run that breaks a claim in this clock, if there is one."""
        broken = {name: self._is(name, clock, 0) for name in self.claims}
        if not self._possible(broken.values()):
            return None
        claim = next(n for n, term in broken.items() if self._solver.get_value(term).value())
        trace = [
            {
                name: int(self._solver.get_value(term).value(10))
                for name, term in self._unrolling.free(clock).items()
            }
            for clock in range(self._clocks)
        ]
        return Counterexample(claim, trace)

    def reached(self, clocks: Iterable[int]) -> Iterator[tuple[str, int | None]]:
        """Yield each thing to be reached with the first clock that reaches it."""
        for name in self._covers:
            first = (clock for clock in clocks if self._possible([self._is(name, clock, 1)]))
            yield name, next(first, None)

    def _is(self, name: str, clock: int, value: int) -> Term:
        word = self._unrolling.output(name, clock)
        return self._terms.mk_term(Kind.EQUAL, [word, self._terms.mk_bv_value(word.sort(), value)])

    def _possible(self, alternatives: Iterable[Any]) -> bool:
        """Return whether one of the terms can be true."""
        false = self._terms.mk_false()
        either = self._terms.mk_term(Kind.OR, [false, false, *alternatives])
        answer = self._solver.check_sat(either)
        if answer == bitwuzla.Result.UNKNOWN:
            raise UndecidedError
        return bool(answer == bitwuzla.Result.SAT)


def _named(system: Design, prefix: str) -> list[str]:
    return sorted(name for name in system.outputs if name.startswith(prefix))
