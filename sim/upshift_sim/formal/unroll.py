"""A design over several clocks, as terms of the solver.

`Unrolling` makes one copy of the design's combinational logic per clock. Registers of the first
clock hold their initial values, or anything at all, whichever a proof asks for. There is no
reset besides: a run that starts with one is a run of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from bitwuzla import Kind

from upshift_sim.formal.btor import Design, Node
from upshift_sim.formal.claims import CONSTANT, RESET

Term: TypeAlias = Any

_PLAIN = {
    "add": Kind.BV_ADD,
    "sub": Kind.BV_SUB,
    "mul": Kind.BV_MUL,
    "neg": Kind.BV_NEG,
    "inc": Kind.BV_INC,
    "and": Kind.BV_AND,
    "or": Kind.BV_OR,
    "xor": Kind.BV_XOR,
    "xnor": Kind.BV_XNOR,
    "nand": Kind.BV_NAND,
    "nor": Kind.BV_NOR,
    "not": Kind.BV_NOT,
    "sll": Kind.BV_SHL,
    "srl": Kind.BV_SHR,
    "sra": Kind.BV_ASHR,
    "concat": Kind.BV_CONCAT,
    "redor": Kind.BV_REDOR,
    "redand": Kind.BV_REDAND,
    "redxor": Kind.BV_REDXOR,
    "slice": Kind.BV_EXTRACT,
    "uext": Kind.BV_ZERO_EXTEND,
    "sext": Kind.BV_SIGN_EXTEND,
}
_COMPARE = {
    "eq": Kind.EQUAL,
    "neq": Kind.DISTINCT,
    "ult": Kind.BV_ULT,
    "ulte": Kind.BV_ULE,
    "ugt": Kind.BV_UGT,
    "ugte": Kind.BV_UGE,
    "slt": Kind.BV_SLT,
    "slte": Kind.BV_SLE,
    "sgt": Kind.BV_SGT,
    "sgte": Kind.BV_SGE,
}


class Unrolling:
    """Values of a design's nodes, clock by clock.

    Parameters
    ----------
    design : Design
    terms : bitwuzla.TermManager
    roots : iterable of str
        Outputs that will be asked for; what they do not depend on is left out.
    initial : bool
        The first clock follows a reset. Otherwise registers hold anything in it.
    """

    def __init__(self, design: Design, terms: Any, *, roots: Iterable[str], initial: bool):
        self.design = design
        self._terms = terms
        self._initial = initial
        self._cone = design.cone(design.outputs[name] for name in roots)
        self._clocks: list[dict[int, Term]] = []

    def output(self, name: str, clock: int) -> Term:
        """Return an output's value in a clock, as a word."""
        while len(self._clocks) <= clock:
            self._append()
        return self._value(self.design.outputs[name], self._clocks[clock])

    def free(self, clock: int) -> dict[str, Term]:
        """Return the named inputs of a clock, and in the first one the registers."""
        kinds = ("input", "state") if clock == 0 else ("input",)
        return {
            name: self._clocks[clock][number]
            for number, name in self.design.names.items()
            if number in self._clocks[clock] and self.design.nodes[number].kind in kinds
        }

    def _append(self) -> None:
        clock = len(self._clocks)
        values: dict[int, Term] = {}
        for number in self._cone:
            node = self.design.nodes[number]
            if node.kind in ("input", "state"):
                values[number] = self._start(number, node, clock, values)
            else:
                values[number] = self._apply(node, values)
        self._clocks.append(values)

    def _start(self, number: int, node: Node, clock: int, values: dict[int, Term]) -> Term:
        """Return what an input or a register holds at the start of a clock."""
        name = self.design.names.get(number, f"node{number}")
        sort = self._terms.mk_bv_sort(node.width)
        if node.kind == "input" and name == RESET:
            return self._terms.mk_bv_zero(sort)
        if node.kind == "input" and clock and name.startswith(CONSTANT):
            return self._clocks[0][number]
        if node.kind == "state" and clock and number in self.design.following:
            return self._value(self.design.following[number], self._clocks[clock - 1])
        if node.kind == "state" and not clock and self._initial and number in self.design.first:
            return self._value(self.design.first[number], values)
        return self._terms.mk_const(sort, f"{name}@{clock}")

    def _value(self, operand: int, values: dict[int, Term]) -> Term:
        value = values[abs(operand)]
        return value if operand > 0 else self._terms.mk_term(Kind.BV_NOT, [value])

    def _apply(self, node: Node, values: dict[int, Term]) -> Term:
        terms = self._terms
        if node.kind == "constant":
            return terms.mk_bv_value(terms.mk_bv_sort(node.width), node.numbers[0])
        operands = [self._value(operand, values) for operand in node.operands]
        if node.kind in _PLAIN:
            return terms.mk_term(_PLAIN[node.kind], operands, list(node.numbers))
        if node.kind == "ite":
            chosen = terms.mk_term(Kind.EQUAL, [operands[0], terms.mk_bv_one(operands[0].sort())])
            return terms.mk_term(Kind.ITE, [chosen, *operands[1:]])
        if node.kind in _COMPARE:
            bit = terms.mk_bv_sort(1)
            truth = terms.mk_term(_COMPARE[node.kind], operands)
            return terms.mk_term(Kind.ITE, [truth, terms.mk_bv_one(bit), terms.mk_bv_zero(bit)])
        raise ValueError(f"BTOR2 operator {node.kind!r} is not understood")
