"""Files that are written whole or not at all, and a journal of what is finished."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Write a file, whole or not at all."""
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    os.replace(new, path)


class Journal:
    """Finished pieces of work, one line of JSON each, appended as they finish.

    A line that an interruption cut short does not count and is removed. The first line says what
    the others belong to.

    Parameters
    ----------
    path : Path
    heading : dict
        What the work belongs to, as JSON has it.

    Raises
    ------
    ValueError
        If the file is there and belongs to something else, or another process uses it.
    """

    def __init__(self, path: Path, heading: dict[str, Any]):
        self.finished: dict[str, dict[str, Any]] = {}
        self._file = path.open("a+b")
        try:
            self._begin(path, heading)
        except Exception:
            self._file.close()
            raise

    def _begin(self, path: Path, heading: dict[str, Any]) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"{path} is in use by another process") from None
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        self._file.truncate(whole)
        lines = [json.loads(line) for line in content[:whole].splitlines()]
        if not lines:
            self._append(heading)
        elif lines[0] != heading:
            changed = sorted(
                name
                for name in lines[0].keys() | heading.keys()
                if lines[0].get(name) != heading.get(name)
            )
            raise ValueError(
                f"{path} belongs to another run, with other {', '.join(changed)}: "
                f"{ {name: lines[0].get(name) for name in changed} }, not "
                f"{ {name: heading.get(name) for name in changed} }; "
                "use another directory, or remove it to begin again"
            )
        for entry in lines[1:]:
            self.finished[entry["key"]] = entry

    def add(self, key: str, entry: dict[str, Any]) -> None:
        """Keep what came of a piece of work, its key included."""
        self.finished[key] = {"key": key, **entry}
        self._append(self.finished[key])

    def _append(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file, which lets others use it."""
        self._file.close()


@contextmanager
def journal(path: Path, heading: dict[str, Any]) -> Iterator[Journal]:
    """Open a journal for as long as it is needed; see `Journal`."""
    opened = Journal(path, heading)
    try:
        yield opened
    finally:
        opened.close()
