"""Many points: first all netlists, then all seeds, several at a time, each kept once made."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from upshift.native import cache_directory
from upshift_boards.fabric import harness, place
from upshift_boards.fabric.place import Netlist
from upshift_boards.fabric.targets import Setting
from upshift_boards.tools import BuildError

Point = dict[str, Any]

_elaborating = threading.Lock()  # Amaranth is not made for several threads


class Campaign:
    """Measures settings, and knows what came of each.

    Parameters
    ----------
    settings : iterable of Setting
        Where one appears twice, its seeds are put together.
    cache : Path

    Attributes
    ----------
    settings : list of Setting
    points : list of dict
        In the order of the settings and seeds.
    failures : list of str
        Why a setting has no points, for each that has none.
    """

    def __init__(self, settings: Iterable[Setting], cache: Path):
        seeds: dict[tuple[Any, Any], set[int]] = {}
        for each in settings:
            seeds.setdefault((each.part, each.config), set()).update(each.seeds)
        self.settings = [Setting(*what, tuple(sorted(some))) for what, some in seeds.items()]
        self.points: list[Point] = []
        self.failures: list[str] = []
        self._cache = cache

    def run(
        self, jobs: int = 1, progress: Callable[[str, int, int], None] = lambda what, n, of: None
    ) -> None:
        """Measure what is not in the cache.

        Parameters
        ----------
        jobs : int
            Tools that run at the same time.
        progress : callable
            Told what is being made, how many there are and how many there will be.
        """
        self.points, self.failures = [], []
        pool = ThreadPoolExecutor(jobs)
        try:
            self._measure(pool, progress)
        finally:
            # What is done is kept, what runs is waited for, and nothing new is begun.
            pool.shutdown(cancel_futures=True)

    def _measure(self, pool: ThreadPoolExecutor, progress: Callable[[str, int, int], None]) -> None:
        placeable: list[tuple[Setting, Netlist, int]] = []
        netlists = zip(self.settings, pool.map(self._synthesise, self.settings), strict=True)
        for done, (each, made) in enumerate(netlists, 1):
            progress("netlists", done, len(self.settings))
            if isinstance(made, BuildError):
                self._failed(each, made)
            else:
                placeable += [(each, made, seed) for seed in each.seeds]
        points = zip(placeable, pool.map(self._place, placeable), strict=True)
        for done, ((each, _, _), placed) in enumerate(points, 1):
            progress("points", done, len(placeable))
            if isinstance(placed, BuildError):
                self._failed(each, placed)
            else:
                self.points.append(placed)

    def _synthesise(self, each: Setting) -> Netlist | BuildError:
        try:
            with _elaborating:
                rtlil = harness.to_rtlil(each.config, each.part)
            return place.synthesise(each.part, rtlil, self._cache)
        except BuildError as error:
            return error

    def _place(self, work: tuple[Setting, Netlist, int]) -> Point | BuildError:
        each, netlist, seed = work
        try:
            return place.place(each.part, each.config, netlist, seed, self._cache)
        except BuildError as error:
            return error

    def _failed(self, each: Setting, error: BuildError) -> None:
        message = f"{each.part.name}, {each.config.to_json()}: {error}"
        if message not in self.failures:
            self.failures.append(message)


def cache() -> Path:
    """Return where points and netlists are kept."""
    return cache_directory() / "fabric"


def save(points: Iterable[Point], path: Path) -> None:
    """Write points to a file, one a line, whole or not at all."""
    lines = ",\n".join(json.dumps(point) for point in points)
    place.put(path, f"[\n{lines}\n]\n".encode())


def load(path: Path) -> list[Point]:
    """Return the points in a file."""
    return list(json.loads(path.read_text()))
