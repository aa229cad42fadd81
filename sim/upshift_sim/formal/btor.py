"""Reads BTOR2, the word-level format in which Yosys hands a design to a model checker.

Only what Yosys writes for the gateware is understood; anything else is refused by name. The
operators keep their BTOR2 names, and `upshift_sim.formal.unroll` gives them their meaning.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

_CONSTANTS = {"const": 2, "constd": 10, "consth": 16}
_FREE = {"input", "state"}
_NO_BITS = -1  # what Yosys calls a word without bits


@dataclass(frozen=True)
class Node:
    """One word of the design.

    Attributes
    ----------
    kind : str
        A BTOR2 operator, ``input``, ``state`` or ``constant``.
    width : int
        Bits.
    operands : tuple of int
        Nodes; a negative number stands for the complement.
    numbers : tuple of int
        Value of a constant, bounds of a slice, bits of an extension.
    """

    kind: str
    width: int
    operands: tuple[int, ...] = ()
    numbers: tuple[int, ...] = ()


@dataclass
class Design:
    """A transition system.

    Attributes
    ----------
    nodes : dict
        By number, operands before what uses them.
    names : dict
        Names of inputs and states, by node.
    outputs : dict
        Node of each output.
    first, following : dict
        Initial and next value of each state that has one. A state without a next value is free
        in every clock.
    """

    nodes: dict[int, Node] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    first: dict[int, int] = field(default_factory=dict)
    following: dict[int, int] = field(default_factory=dict)

    def cone(self, roots: Iterable[int]) -> list[int]:
        """Return, in order, the nodes that the roots depend on in any clock."""
        reached: set[int] = set()
        pending = [abs(root) for root in roots]
        while pending:
            number = pending.pop()
            if number in reached:
                continue
            reached.add(number)
            pending += [abs(operand) for operand in self.nodes[number].operands]
            for table in (self.first, self.following):
                if number in table:
                    pending.append(abs(table[number]))
        return sorted(reached)


def parse(text: str) -> Design:
    """Return the design that `text` describes.

    Raises
    ------
    ValueError
        If a line is not understood.
    """
    design = Design()
    widths: dict[int, int] = {}
    for line in text.splitlines():
        words = line.partition(";")[0].split()
        if not words:
            continue
        try:
            _line(design, widths, int(words[0]), words[1], words[2:])
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(f"BTOR2 line {line!r} is not understood") from error
    return design


def _line(design: Design, widths: dict[int, int], number: int, kind: str, rest: list[str]) -> None:
    if kind == "sort":
        widths[number] = {"bitvec": int(rest[1])}[rest[0]]
    elif kind == "output":
        design.outputs[rest[1]] = int(rest[0])
    elif kind in ("init", "next"):
        table = design.first if kind == "init" else design.following
        table[int(rest[1])] = int(rest[2])
    else:
        node = _node(kind, widths[int(rest[0])], rest[1:])
        if any(abs(operand) not in design.nodes for operand in node.operands):
            raise ValueError("an operand does not exist")
        design.nodes[number] = node
        if kind in _FREE and len(rest) > 1:
            design.names[number] = rest[1]


def _node(kind: str, width: int, rest: list[str]) -> Node:
    if kind in _FREE:
        return Node(kind, width)
    if kind in _CONSTANTS:
        return Node("constant", width, (), (int(rest[0], _CONSTANTS[kind]),))
    numbers = {"slice": 2, "uext": 1, "sext": 1}.get(kind, 0)
    words = [int(word) for word in rest if word.lstrip("-").isdigit()]
    operands = len(words) - numbers
    if kind == "uext" and words[0] == _NO_BITS:
        return Node("constant", width, (), (0,))
    return Node(kind, width, tuple(words[:operands]), tuple(words[operands:]))
