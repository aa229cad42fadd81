"""Functional coverage: named bins, counted, some of them required.

A bin counts how often something was seen. A bench that has not seen all that it requires has
proved less than its name says, so a required bin that stayed empty fails it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable


class CoverageError(AssertionError):
    """A required bin is empty."""


class Coverage:
    """Counts what was seen.

    Parameters
    ----------
    required : iterable of str
        Bins that must not stay empty.
    """

    def __init__(self, required: Iterable[str]):
        self.required = frozenset(str(name) for name in required)
        self.counts: Counter[str] = Counter()

    def hit(self, name: str) -> None:
        """Count one sighting."""
        self.counts[str(name)] += 1

    def missing(self) -> list[str]:
        """Return the required bins that are empty, sorted."""
        return sorted(self.required - self.counts.keys())

    def check(self) -> None:
        """Raise CoverageError if a required bin is empty."""
        missing = self.missing()
        if missing:
            raise CoverageError(f"never seen, though required: {', '.join(missing)}")

    def to_dict(self) -> dict[str, int]:
        """Return the counts of all required bins and of all others that were seen."""
        return {name: self.counts[name] for name in sorted(self.required | self.counts.keys())}

    def to_json(self) -> str:
        """Return the counts as JSON."""
        return json.dumps(self.to_dict(), indent=2) + "\n"
