"""Shows that a mutant is no mistake: nobody who looks at the unit's ports can tell it apart.

Induction over pairs of states of the sound unit and the mutant. The bits of the registers that
are equal in both, in all clocks, are found by trying: all are assumed to be, and those that a
counterexample separates are dropped, until the rest follows for one clock more from as many
clocks as the pipeline is long. The mutant is equivalent if the outputs are then equal too. A
mutant for which this fails may still be equivalent; it is counted as if it were not.

Outputs are compared as a stream's partner sees them: the payload only while it is valid. Inputs
are anything at all, resets in any clock included. Initial weights are the same in both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import bitwuzla
from bitwuzla import Kind

from upshift_hw import export
from upshift_sim.formal.btor import Design, Node, parse
from upshift_sim.formal.unroll import Term, Unrolling
from upshift_sim.mutation.netlist import Mutant, run_yosys

CLOCKS = 12
"""Clocks of the induction: longer than any pipeline, its report included."""

_SECONDS = 5
"""Limit for one question to the solver."""

_PATIENCE = 60
"""Seconds after which a mutant is given no further question."""

# What has no driver is set to zero last: a constant cannot have the initial value of its wire.
_SCRIPT = (
    "flatten; opt_clean; memory -nordff; setundef -zero -init; dffunmap; opt_clean; "
    "setundef -zero -undriven; write_btor unit.btor"
)


def transitions(netlist: str, mutant: Mutant | None = None) -> Design:
    """Return a unit, or one of its mutants, as a transition system.

    Parameters
    ----------
    netlist : str
        From `upshift_sim.mutation.netlist.sound`.
    mutant : Mutant, optional
    """
    change = f"mutate {mutant.arguments}; " if mutant else ""
    script = f"read_rtlil sound.il; hierarchy -top {export.TOP}; {change}{_SCRIPT}"
    return parse(run_yosys(script, {"sound.il": netlist}, "unit.btor"))


def equivalent(sound: Design, mutant: Design, *, clocks: int = CLOCKS) -> bool:
    """Return whether the mutant was shown to be equivalent.

    Parameters
    ----------
    sound, mutant : Design
        From `transitions`.
    clocks : int
        Of the induction.
    """
    pairs = _pairs(sound, mutant)
    if pairs is None:
        return False
    equal = {state: _ones(sound.nodes[state]) for state in pairs}
    clock = time.monotonic()
    while time.monotonic() - clock < _PATIENCE:
        step = _Runs(sound, mutant, pairs, equal, clocks, initial=False)
        separated = step.separated()
        if separated is None:
            return False
        if not separated:
            return (
                step.outputs_agree()
                and _Runs(sound, mutant, pairs, equal, clocks, initial=True).always_agree()
            )
        for state, bits in separated.items():
            # Bit by bit it would take long: of a register that was hit before, none is left.
            whole = equal[state] == _ones(sound.nodes[state])
            equal[state] = equal[state] & ~bits if whole else 0
    return False


def _pairs(sound: Design, mutant: Design) -> dict[int, int] | None:
    """Return each state of the sound unit with its counterpart, None if there is doubt."""
    places = {name: state for state, name in mutant.names.items() if state in mutant.following}
    pairs = {
        state: places.pop(sound.names[state])
        for state in sound.following
        if sound.names.get(state) in places
    }
    mine = [state for state in sound.following if state not in pairs]
    other = [state for state in mutant.following if state not in pairs.values()]
    if len(mine) != len(other):
        return None
    pairs |= zip(mine, other, strict=True)  # the one whose pin was changed has lost its name
    same = all(sound.nodes[a].width == mutant.nodes[b].width for a, b in pairs.items())
    return pairs if same else None


def _ones(node: Node) -> int:
    return (1 << node.width) - 1


class _Unit(Unrolling):
    """A unit of which someone else says what inputs and registers hold at a clock's start."""

    def __init__(self, design: Design, terms: Any, start: Callable[[int, int], Term]):
        super().__init__(design, terms, roots=design.outputs, initial=False)
        self._cone = sorted(design.nodes)
        self._held = start

    def _start(self, number: int, node: Node, clock: int, values: dict[int, Term]) -> Term:
        return self._held(number, clock)

    def following(self, state: int, clock: int) -> Term:
        """Return what a register holds after a clock."""
        self.output(next(iter(self.design.outputs)), clock)
        return self._value(self.design.following[state], self._clocks[clock])

    def initial(self, state: int) -> Term | None:
        """Return the initial value of a register, None if it has none."""
        first = self.design.first.get(state)
        return None if first is None else self._apply(self.design.nodes[first], {})

    def symbol(self, node: int, name: str) -> Term:
        """Return a new free value for a node."""
        return self._terms.mk_const(self._terms.mk_bv_sort(self.design.nodes[node].width), name)

    def seen(self, name: str, clock: int) -> Term:
        """Return an output as its partner sees it: a payload is nothing unless valid."""
        value = self.output(name, clock)
        valid = name.replace("__payload", "__valid")
        if valid == name or valid not in self.design.outputs:
            return value
        on = self._terms.mk_term(
            Kind.EQUAL,
            [self.output(valid, clock), self._terms.mk_bv_one(self._terms.mk_bv_sort(1))],
        )
        nothing = self._terms.mk_bv_zero(value.sort())
        return self._terms.mk_term(Kind.ITE, [on, value, nothing])


class _Runs:
    """Runs of the sound unit and of a mutant, side by side, over the same inputs.

    Wherever a register's bits are taken to be equal, those of the mutant *are* the sound unit's:
    the solver then sees one circuit, beside which is only what the mutant has changed.

    Parameters
    ----------
    pairs : dict
        The mutant's state for each of the sound unit's.
    equal : dict
        Which bits of each of these are taken to be equal.
    clocks : int
    initial : bool
        Both start as after configuration. Otherwise in any state that agrees in `equal`.
    """

    def __init__(
        self,
        sound: Design,
        mutant: Design,
        pairs: dict[int, int],
        equal: dict[int, int],
        clocks: int,
        *,
        initial: bool,
    ):
        self._terms = bitwuzla.TermManager()
        self._sound = _Unit(sound, self._terms, self._hold_sound)
        self._mutant = _Unit(mutant, self._terms, self._hold_mutant)
        self._sound_state = {b: a for a, b in pairs.items()}
        self._pairs = pairs
        self._equal = equal
        self._clocks = clocks
        self._initial = initial
        self._symbols: dict[tuple[str, int], Term] = {}
        self._inputs = {
            name: node for node, name in sound.names.items() if node not in sound.following
        }

    # -- what the registers hold ----------------------------------------------------------------

    def _hold_sound(self, node: int, clock: int) -> Term:
        if node not in self._sound.design.following:
            return self._symbol(f"input {clock}", node)
        if clock:
            return self._sound.following(node, clock - 1)
        value = self._sound.initial(node) if self._initial else None
        return self._symbol("sound", node) if value is None else value

    def _hold_mutant(self, node: int, clock: int) -> Term:
        if node not in self._mutant.design.following:
            return self._hold_sound(self._inputs[self._mutant.design.names[node]], clock)
        state = self._sound_state[node]
        sound = self._hold_sound(state, clock)
        if clock:
            own = self._mutant.following(node, clock - 1)
        else:
            own = sound if self._initial else self._symbol("mutant", state)
        bits = self._equal[state]
        if sound is own or sound == own or bits == _ones(self._sound.design.nodes[state]):
            return sound
        if not bits:
            return own
        mask = self._terms.mk_bv_value(sound.sort(), bits)
        others = self._terms.mk_term(Kind.BV_NOT, [mask])
        return self._terms.mk_term(
            Kind.BV_OR,
            [
                self._terms.mk_term(Kind.BV_AND, [sound, mask]),
                self._terms.mk_term(Kind.BV_AND, [own, others]),
            ],
        )

    def _symbol(self, what: str, node: int) -> Term:
        if (what, node) not in self._symbols:
            self._symbols[what, node] = self._sound.symbol(node, f"{what} {node}")
        return self._symbols[what, node]

    # -- what differs ---------------------------------------------------------------------------

    def _states(self, clock: int) -> dict[int, tuple[Term, Term]]:
        """Return what is to be equal after a clock, where it is not the same term already."""
        found = {}
        for state, bits in self._equal.items():
            sound = self._sound.following(state, clock)
            mutant = self._mutant.following(self._pairs[state], clock)
            if not bits or sound == mutant:
                continue
            if bits != _ones(self._sound.design.nodes[state]):
                mask = self._terms.mk_bv_value(sound.sort(), bits)
                sound = self._terms.mk_term(Kind.BV_AND, [sound, mask])
                mutant = self._terms.mk_term(Kind.BV_AND, [mutant, mask])
            found[state] = sound, mutant
        return found

    def _outputs(self, clock: int) -> list[tuple[Term, Term]]:
        both = [
            (self._sound.seen(name, clock), self._mutant.seen(name, clock))
            for name in self._sound.design.outputs
        ]
        return [(sound, mutant) for sound, mutant in both if sound != mutant]

    def _solver(self) -> Any:
        options = bitwuzla.Options()
        options.set(bitwuzla.Option.PRODUCE_MODELS, True)
        options.set(bitwuzla.Option.TIME_LIMIT_PER, _SECONDS * 1000)
        return bitwuzla.Bitwuzla(self._terms, options)

    def _hypothesis(self) -> Any:
        """Return a solver that knows that everything agrees until the last clock."""
        solver = self._solver()
        for clock in range(self._clocks - 1):
            for pair in [*self._states(clock).values(), *self._outputs(clock)]:
                solver.assert_formula(self._terms.mk_term(Kind.EQUAL, [*pair]))
        return solver

    def _distinct(self, pairs: Iterable[tuple[Term, Term]]) -> Term:
        different = [self._terms.mk_term(Kind.DISTINCT, [*pair]) for pair in pairs]
        return different[0] if len(different) == 1 else self._terms.mk_term(Kind.OR, different)

    def separated(self) -> dict[int, int] | None:
        """Return bits of registers that can differ after the last clock, None if not decided.

        Empty if all that agreed must agree still.
        """
        states = self._states(self._clocks - 1)
        if not states:
            return {}
        solver = self._hypothesis()
        solver.assert_formula(self._distinct(states.values()))
        result = solver.check_sat()
        if result == bitwuzla.Result.UNSAT:
            return {}
        if result != bitwuzla.Result.SAT:
            return None
        found = {}
        for state, pair in states.items():
            one, other = (int(solver.get_value(term).value(10)) for term in pair)
            if one != other:
                found[state] = one ^ other
        return found

    def outputs_agree(self) -> bool:
        """Return whether the outputs must be equal in the last clock."""
        outputs = self._outputs(self._clocks - 1)
        if not outputs:
            return True
        solver = self._hypothesis()
        solver.assert_formula(self._distinct(outputs))
        return bool(solver.check_sat() == bitwuzla.Result.UNSAT)

    def always_agree(self) -> bool:
        """Return whether nothing can differ in any of the clocks."""
        pairs = [
            pair
            for clock in range(self._clocks)
            for pair in [*self._states(clock).values(), *self._outputs(clock)]
        ]
        if not pairs:
            return True
        solver = self._solver()
        solver.assert_formula(self._distinct(pairs))
        return bool(solver.check_sat() == bitwuzla.Result.UNSAT)
