"""Tidy tables: one observation a row, columns that say what they may hold, CSV in and out.

A table is checked when it is written and when it is read, so that a plot or a summary never meets
a number that the experiment could not have measured.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upshift.experiments.files import write_text

Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """What one column holds.

    Parameters
    ----------
    name : str
    kind : type
        int, float, str or bool. Floats may be infinite, as a loss that diverged is; no cell is NaN.
    doc : str
        What it means, with its unit.
    allowed : tuple of str, optional
        The texts that may stand there; any if left out.
    low, high : float
        Range of numbers, both ends included.
    optional : bool
        Whether it may be empty, which is None in a row.
    """

    name: str
    kind: type
    doc: str
    allowed: tuple[str, ...] | None = None
    low: float = -math.inf
    high: float = math.inf
    optional: bool = False

    def check(self, value: Any) -> None:
        """Raise ValueError if a value is not allowed."""
        if value is None and self.optional:
            return
        if type(value) not in (self.kind,):  # True is no integer here
            raise ValueError(f"{self.name} {value!r} is not allowed: {self.kind.__name__}")
        if self.kind is str:
            if self.allowed is not None and value not in self.allowed:
                raise ValueError(f"{self.name} {value!r} is not allowed: {', '.join(self.allowed)}")
        elif not self.low <= value <= self.high:  # not true of NaN
            raise ValueError(f"{self.name} {value!r} is not allowed: {self.low:g} to {self.high:g}")

    def write(self, value: Any) -> str:
        """Return the text of a value."""
        if value is None:
            return ""
        return str(value).lower() if self.kind is bool else str(value)

    def read(self, text: str) -> Any:
        """Return the value of a text; the text itself where it is none."""
        if text == "" and self.optional:
            return None
        if self.kind is bool:
            return {"true": True, "false": False}.get(text, text)
        try:
            return self.kind(text)
        except ValueError:
            return text


def check(rows: Iterable[Row], columns: Sequence[Column]) -> None:
    """Raise ValueError unless every row has exactly these columns, with allowed values."""
    names = {column.name for column in columns}
    for number, row in enumerate(rows, 1):
        if row.keys() != names:
            odd = ", ".join(sorted(row.keys() ^ names))
            raise ValueError(f"row {number}: missing or unknown: {odd}")
        for column in columns:
            try:
                column.check(row[column.name])
            except ValueError as error:
                raise ValueError(f"row {number}: {error}") from None


def write(path: Path, rows: Sequence[Row], columns: Sequence[Column]) -> None:
    """Write rows as CSV, whole or not at all.

    Raises
    ------
    ValueError
        If a row is not what the columns say; nothing is written then.
    """
    check(rows, columns)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(column.name for column in columns)
    for row in rows:
        writer.writerow(column.write(row[column.name]) for column in columns)
    write_text(path, stream.getvalue())


def read(path: Path, columns: Sequence[Column]) -> list[Row]:
    """Return the rows of a CSV file.

    Raises
    ------
    ValueError
        If the file does not have these columns, or a value is not allowed.
    """
    with path.open(newline="") as file:
        heading, *lines = csv.reader(file)
    names = [column.name for column in columns]
    if heading != names:
        raise ValueError(f"{path} has the columns {', '.join(heading)}, not {', '.join(names)}")
    rows = []
    for number, line in enumerate(lines, 1):
        if len(line) != len(columns):
            raise ValueError(f"{path}: row {number} has {len(line)} cells, not {len(columns)}")
        cells = zip(columns, line, strict=True)
        rows.append({column.name: column.read(text) for column, text in cells})
    try:
        check(rows, columns)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return rows


def describe(columns: Sequence[Column]) -> str:
    """Return the meaning of the columns as a Markdown table."""
    lines = ["| column | holds | meaning |", "|---|---|---|"]
    for column in columns:
        holds = {int: "integer", float: "number", str: "text", bool: "true or false"}[column.kind]
        lines.append(f"| `{column.name}` | {holds}{' or empty' * column.optional} | {column.doc} |")
    return "\n".join(lines) + "\n"
