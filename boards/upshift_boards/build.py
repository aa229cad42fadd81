"""From a board to a bitstream, and to the numbers that go with it."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upshift.formats import Raw
from upshift_boards import result, tools
from upshift_boards.board import Board, Family

PHASES = ("elaborate", "synthesise", "place and route", "pack")
"""What a build does, in order."""

SEED = 1
"""Of place and route: the same sources and tools make the same bitstream."""

SUFFIXES: dict[Family, str] = {"ecp5": ".bit", "ice40": ".bin", "gowin": ".fs"}
"""Ends of the bitstreams' names."""

DIRECTORY = Path("build")
"""Where bitstreams are written and looked for, unless one says otherwise."""


@dataclass(frozen=True)
class Plan:
    """Sources and commands of a build.

    Attributes
    ----------
    platform : amaranth.build.Platform
    files : dict of str
        Content by name.
    commands : list of list of str
        One per phase after the first; the last phase may have two.
    """

    platform: Any
    files: dict[str, str]
    commands: list[list[str]]


def bitstream(board: Board, directory: Path = DIRECTORY) -> Path:
    """Return where the bitstream of a board is."""
    return directory / (board.name + SUFFIXES[board.family])


def plan(board: Board, init: Raw | None = None) -> Plan:
    """Elaborate the gateware of a board, and decide how to build it.

    Parameters
    ----------
    board : Board
    init : ndarray of int64, shape (depth,), optional
        Raw weights that the unit holds once the board is configured.

    Raises
    ------
    ValueError
        If the board's clock or line rate cannot be made, or its unit cannot stand behind a link.
    """
    from upshift_boards.top import BoardTop

    options = f"--seed {SEED} --report {result.REPORT}"
    if board.family == "gowin":
        # The constraint file has pins only. Placement by length alone is quicker by a minute, this
        # router by a quarter of one, and both are good enough; timing is checked all the same.
        options += f" --freq {board.link.clock / 1e6:g} --no-tmdriv --router router2"
    platform = board.load_platform()
    prepared = platform.build(
        BoardTop(board, init),
        do_build=False,
        emit_src=False,  # paths of this machine
        # The gateware multiplies by constants only, for which adders do.
        synth_opts="-nodsp" if board.family == "ecp5" else "",
        nextpnr_opts=options,
        # The WebAssembly build prints nothing any more once ABC has run.
        script_after_synth=f"tee -q -o {result.CELLS} stat -json",
    )
    commands = json.loads(prepared.files["build_top.json"])["commands"]
    return Plan(platform, dict(prepared.files), commands)


def build(
    board: Board,
    directory: Path,
    *,
    init: Raw | None = None,
    started: Callable[[str], None] = lambda phase: None,
) -> dict[str, Any]:
    """Make the bitstream of a board, and a JSON file beside it.

    Parameters
    ----------
    board : Board
    directory : Path
        Gets ``NAME.bit`` (or ``.bin``, ``.fs``) and ``NAME.json``; what the tools write on the
        way is left in ``NAME/``.
    init : ndarray of int64, shape (depth,), optional
        Raw weights that the unit holds once the board is configured.
    started : callable
        Told each phase when it starts.

    Returns
    -------
    dict
        What is in the JSON file.

    Raises
    ------
    ValueError
        If the board's clock or line rate cannot be made, or its unit cannot stand behind a link.
    BuildError
        If a tool is missing or fails, or the clock is not reached. There is no bitstream then.
    """
    clock, cpu = time.perf_counter(), _cpu_seconds()
    made, described = bitstream(board, directory), directory / f"{board.name}.json"
    made.unlink(missing_ok=True)
    described.unlink(missing_ok=True)
    work = directory / board.name
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    started(PHASES[0])
    planned = plan(board, init)
    versions = tools.versions(planned.commands)
    for name, content in planned.files.items():
        (work / name).write_text(content)
    for phase, command in zip([*PHASES[1:], PHASES[-1]], planned.commands, strict=False):
        started(phase)
        tools.run(command, work)
    numbers = result.collect(board, planned.platform, work, work / f"top{made.suffix}")
    shutil.copyfile(work / f"top{made.suffix}", made)
    numbers |= {
        "versions": versions,
        "seed": SEED,
        "seconds": round(time.perf_counter() - clock, 1),
        "cpu_seconds": round(_cpu_seconds() - cpu, 1),
    }
    described.write_text(json.dumps(numbers, indent=2) + "\n")
    return numbers


def _cpu_seconds() -> float:
    """Return the processor time that this process and its tools have taken."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system
