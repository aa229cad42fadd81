"""The fast suite: the whole bench, in all four kinds of pauses, on one mutant after another."""

from __future__ import annotations

from collections.abc import Iterator

from upshift.config import UnitConfig
from upshift_sim.bench import native
from upshift_sim.mutation.netlist import SELECT, Mutant, with_mutants

PATIENCE = 4
"""A mutant may take so many times the clocks of the sound unit before it is said to hang."""


class SuiteError(RuntimeError):
    """The suite fails on the sound unit, so that it can say nothing about mutants."""


class Suite:
    """The benches of one configuration.

    Parameters
    ----------
    config : UnitConfig
    netlist : str
        The sound unit.
    seed : int
        Of everything random in the benches.
    """

    def __init__(self, config: UnitConfig, netlist: str, seed: int):
        self._netlist = netlist
        self._cases = [
            native.case(config, idle=idle, stall=stall, seed=seed)
            for idle, stall in ((False, False), (True, True), (True, False), (False, True))
        ]
        self._clocks: list[int] = []

    def failures(self, mutants: list[Mutant]) -> Iterator[str]:
        """Yield for each mutant why its first bench fails, or an empty string if none does.

        All of them are compiled into one netlist first.

        Raises
        ------
        SuiteError
            If a bench fails while none of the mutants is selected.
        """
        netlist = native.Netlist(with_mutants(self._netlist, mutants))
        self._clocks = []
        failure = self._failure(netlist, 0)
        if failure:
            raise SuiteError(f"the benches fail on the sound unit: {failure}")
        for number in range(1, len(mutants) + 1):
            yield self._failure(netlist, number)

    def _failure(self, netlist: native.Netlist, number: int) -> str:
        for n, case in enumerate(self._cases):
            longest = PATIENCE * self._clocks[n] if number else native.LONGEST
            pins = netlist.open()
            getattr(pins, SELECT).value = number
            try:
                bench = native.run(pins, case, longest=longest)
            except Exception as error:
                # Whatever a bench meets that it did not expect ends it, as under a simulator.
                return f"{type(error).__name__}: {error}"
            finally:
                pins.close()
            if not number:
                self._clocks.append(bench.clock)
        return ""
