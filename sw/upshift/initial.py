"""Weights from a file, for a unit that shall hold them from power-up on.

The kind of file follows from the end of its name:

``.npy``
    A NumPy array of one dimension; integers are raw words, floats are values to encode.
``.hex``, ``.mem``, ``.txt``
    Raw words in hexadecimal, in two's complement of the weights' width, with white space between
    them and ``//`` comments: what Verilog's ``$readmemh`` reads, but for addresses.

Fewer weights than the unit holds are allowed; the others are zero.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from upshift.config import UnitConfig
from upshift.formats import Raw


def load(path: str | Path, config: UnitConfig) -> Raw:
    """Return the weights in a file, as many as the unit holds.

    Parameters
    ----------
    path : str or Path
    config : UnitConfig
        With resident weights.

    Returns
    -------
    ndarray of int64, shape (depth,)
        Raw weights. Float values outside the range of ``config.weight`` saturate.

    Raises
    ------
    ValueError
        If the unit holds no weights, the file is of an unknown kind or damaged, has no weights or
        too many, or a raw word lies outside its range.
    OSError
        If the file cannot be read.
    """
    if config.memory != "resident":
        raise ValueError(f"{path}: a unit of {config.memory} weights holds none to initialise")
    path = Path(path)
    kinds = {".npy": _array, ".hex": _text, ".mem": _text, ".txt": _text}
    if path.suffix not in kinds:
        raise ValueError(f"{path}: {path.suffix!r} is not allowed: one of {[*kinds]}")
    try:
        words = kinds[path.suffix](path, config)
        if not 1 <= words.size <= config.depth:
            raise ValueError(f"{words.size} weights are not allowed: 1 to {config.depth}")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    return np.concatenate([words, np.zeros(config.depth - words.size, np.int64)])


def _array(path: Path, config: UnitConfig) -> Raw:
    with path.open("rb") as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
    if array.ndim != 1:
        raise ValueError(f"weights must be one-dimensional, not of shape {array.shape}")
    return config.weight.encode(array) if array.dtype.kind == "f" else config.weight.check(array)


def _text(path: Path, config: UnitConfig) -> Raw:
    width = config.weight.width
    words = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        for word in line.partition("//")[0].split():
            digits = word.replace("_", "")
            if not re.fullmatch("[0-9a-fA-F]+", digits) or int(digits, 16) >> width:
                raise ValueError(
                    f"line {number}: {word!r} is not allowed: hexadecimal, up to {width} bits"
                )
            words.append(int(digits, 16))
    raw = np.array(words, np.int64)
    return raw - (raw >> (width - 1) << width)
