"""What was built for each board, and where it has run, from the results beside the pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from upshift_boards import BOARDS
from upshift_boards.board import Board

RESULTS = Path(__file__).resolve().parents[1] / "results"


def _read(kind: str, board: Board) -> dict[str, Any] | None:
    path = RESULTS / kind / f"{board.name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def boards() -> str:
    """Return what each board is, and whether its unit has run on one."""
    lines = [
        "| board | name | weights | lanes | line | run on hardware |",
        "|---|---|---|---:|---|---|",
    ]
    for board in BOARDS:
        unit, link = board.config, board.link
        lines.append(
            f"| {board.title} | `{board.name}` | {unit.depth} of {unit.weight} | {unit.lanes} | "
            f"{board.baud / 1e6:g} Mbaud, {link.baud_error:+.2%} | {_hardware(board)} |"
        )
    return "\n".join(lines) + "\n"


def _hardware(board: Board) -> str:
    """Say whether and when a unit ran on the board.

    Raises
    ------
    ValueError
        If there is a result that does not show that: of another board or unit, of something that
        is not on a serial port, or with a difference.
    """
    result = _read("hardware", board)
    if result is None:
        return "no"
    place = f"results/hardware/{board.name}.json"
    url = str(result.get("url"))
    if result.get("board") != board.name:
        problem = f"its board is {result.get('board')!r}: {board.name!r} allowed"
    elif result.get("digest") != board.config.digest:
        problem = (
            f"its unit has the digest {result.get('digest')}, the board's {board.config.digest}"
        )
    elif not url.startswith("serial:") or "/dev/pts" in url:
        problem = f"it is of {url}: serial: and a port that is no pseudo-terminal allowed"
    elif result.get("equal") is not True:
        problem = "the device differed from the integer model"
    else:
        return f"[{result['date']}: equal]({place})"
    raise ValueError(f"docs/{place} does not count: {problem}")


def builds() -> str:
    """Return what place and route came to for each board, from the results of `make boards`."""
    lines = [
        "| name | device | clock | worst slack | logic | FF | block RAM | DSP | bitstream |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    stamps = []
    for board in BOARDS:
        result = _read("boards", board)
        if result is None:
            lines.append(f"| `{board.name}` | {board.device} |" + " not built |" * 7)
            continue
        lines.append(_row(board, result))
        stamps.append(_stamp(result))
    return "\n".join([*lines, "", *dict.fromkeys(stamps)]) + "\n"


def _row(board: Board, result: dict[str, Any]) -> str:
    clock, used = result["clock"], result["resources"]
    reached = min(each["reached"] for each in clock["clocks"].values())
    logic, memory, multipliers = (
        f"{used[what]['used']} of {used[what]['available']}"
        for what in ("logic", "block RAM", "DSP")
    )
    older = "" if result["digest"] == board.config.digest else " (another unit)"
    return (
        f"| [`{board.name}`](results/boards/{board.name}.json){older} | {result['device']} | "
        f"{clock['target']:g} MHz, reached {reached:.1f} | {clock['slack']:.2f} ns | {logic} | "
        f"{result['cells']['flip-flops']} | {memory} | {multipliers} | "
        f"{result['bitstream']['bytes'] / 1e3:.0f} kB |"
    )


def _stamp(result: dict[str, Any]) -> str:
    versions = ", ".join(
        f"{name} {version}" for name, version in result["versions"].items() if name != "upshift"
    )
    return f"- {result['date']}, seed {result['seed']}: {versions}."


def notes() -> str:
    """Return where the serial line of each board is, its URL, and how it is programmed."""
    lines = ["| name | open as | serial line | programmer |", "|---|---|---|---|"]
    for board in BOARDS:
        url = f"serial:///dev/ttyUSB0?baud={board.baud}"
        lines.append(f"| `{board.name}` | `{url}` | {board.notes} | `{board.programmer[0]}` |")
    return "\n".join(lines) + "\n"
