"""Mutants of a unit's netlist: found and made by Yosys, many of them in one design.

A mutant changes one bit of one pin of one cell: inverted, stuck at 0 or 1, or inverted whenever
another bit of the same pin is 0 or 1. A design made by `with_mutants` has them all behind an
input `SELECT`; 0 selects none.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from upshift.config import UnitConfig
from upshift_hw import export, yosys

SELECT = "mutant"
_SELECT_BITS = 16

# Constants, duplicates and bits that nobody looks at would give mutants without any effect.
# Weights that nobody has written are unknown, so the initial ones go.
_PREPARE = (
    "read_rtlil unit.il; hierarchy -top {top}; delete t:$meminit*; proc; opt_expr; "
    "opt_merge; opt_dff -simple-dffe; opt_clean; wreduce; opt_expr; opt_clean; "
    "write_rtlil sound.il"
)
_ARGUMENT = re.compile(r"-(\w+) (\S+)")


@dataclass(frozen=True)
class Mutant:
    """One change of a netlist.

    Attributes
    ----------
    arguments : str
        Those of Yosys' ``mutate`` that make it.
    """

    arguments: str

    def argument(self, name: str) -> str:
        """Return one of the arguments: ``mode``, ``module``, ``cell``, ``port``, ``portbit``..."""
        return str(dict(_ARGUMENT.findall(self.arguments))[name])


def sound(config: UnitConfig) -> str:
    """Return the RTLIL of a unit as the mutants' common origin."""
    return prepared(export.to_rtlil(config), export.TOP)


def prepared(rtlil: str, top: str) -> str:
    """Return a design without what would give mutants that have no effect.

    Parameters
    ----------
    rtlil : str
    top : str
        Its top module.
    """
    return run_yosys(_PREPARE.format(top=top), {"unit.il": rtlil}, "sound.il")


def mutants(netlist: str, count: int, seed: int, *, among: str = "*") -> list[Mutant]:
    """Return mutants sampled evenly over modules, cells, pins and bits.

    Clock pins are left out: a unit whose registers have different clocks is another circuit.

    Parameters
    ----------
    netlist : str
        From `prepared`.
    count : int
        1 to 65,535. A small netlist may have fewer.
    seed : int
    among : str
        A selection of Yosys; all by default.
    """
    if not 1 <= count < 1 << _SELECT_BITS:
        raise ValueError(f"{count} mutants are not allowed: 1 to {(1 << _SELECT_BITS) - 1}")
    spare = count // 10 + 10  # for those of clock pins
    choice = f"mutate -list {count + spare} -seed {seed} -o list.ys {among}"
    files = {"sound.il": netlist}
    lines = run_yosys(f"read_rtlil sound.il; {choice}", files, "list.ys").splitlines()
    found = [Mutant(line.removeprefix("mutate ")) for line in lines]
    return [m for m in found if not m.argument("port").lower().endswith("clk")][:count]


def with_mutants(netlist: str, some: list[Mutant]) -> str:
    """Return a design in which input `SELECT` n makes it the n-th mutant, counted from 1."""
    commands = [
        f"mutate -ctrl {SELECT} {_SELECT_BITS} {number} {mutant.arguments}"
        for number, mutant in enumerate(some, 1)
    ]
    files = {"sound.il": netlist, "mutate.ys": "\n".join(commands) + "\n"}
    return run_yosys("read_rtlil sound.il; script mutate.ys; write_rtlil all.il", files, "all.il")


def run_yosys(script: str, files: dict[str, str], result: str) -> str:
    """Run a Yosys script among some files and return the text of one that it wrote."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for file, text in files.items():
            (directory / file).write_text(text)
        yosys.run(script, directory)
        return (directory / result).read_text()
