"""How many block RAMs a unit takes, counted rather than estimated."""

from __future__ import annotations

from collections.abc import Iterator

from upshift import layout
from upshift.config import UnitConfig
from upshift_hw.families import Family
from upshift_hw.report import queued

_SHAPES: dict[Family, tuple[tuple[int, int], ...]] = {
    "ecp5": ((1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1)),
    "ice40": ((256, 16), (512, 8), (1024, 4), (2048, 2)),
    "gowin": ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1)),
}
"""Words and bits per word that a block RAM can have, with one port to read and one to write."""

_PLACED = 4096
"""A bank of so many words is placed on the ECP5: as few words as hold it, see `upshift_hw.dp16kd`.
Elsewhere synthesis takes the shape of which the fewest are needed."""

_SHALLOW: dict[Family, int] = {"ecp5": 16, "ice40": 0, "gowin": 16}
"""Banks of so many words are made of look-up tables where synthesis decides."""


def queues(config: UnitConfig) -> Iterator[int]:
    """Yield the bits of the words of each queue of a unit that is made of block RAM."""
    for word in queued(config).values():
        yield word.size
    if config.memory == "streamed":
        yield layout.width(layout.weights(config))
    if config.updates:
        yield layout.width(layout.updates(config))


def blocks(family: Family, config: UnitConfig) -> int:
    """Return the number of block RAMs of a unit."""
    bank = 0
    if config.memory == "resident":
        bank = _blocks(family, config.rows, config.weight.width)
        if family == "ecp5" and config.rows <= _PLACED:
            wide = next(wide for deep, wide in _SHAPES[family] if config.rows <= deep)
            bank = -(-config.weight.width // wide)
    # No queue has more words than the widest block RAM.
    widest = max(wide for _, wide in _SHAPES[family])
    return config.lanes * bank + sum(-(-bits // widest) for bits in queues(config))


def _blocks(family: Family, words: int, bits: int) -> int:
    if words <= _SHALLOW[family]:
        return 0
    return min(-(-words // deep) * -(-bits // wide) for deep, wide in _SHAPES[family])
