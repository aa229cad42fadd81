"""The images of CIFAR-10, from the archive ``cifar-10-python.tar.gz`` that its authors offer.

The archive holds pickles, which may run any code when they are read. These are read with nothing
allowed but NumPy's arrays.
"""

from __future__ import annotations

import hashlib
import pickle
import tarfile
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray

from upshift.digits import Digits

DIRECTORY = "cifar-10-batches-py"
TRAINING = tuple(f"{DIRECTORY}/data_batch_{number}" for number in range(1, 6))
TEST = f"{DIRECTORY}/test_batch"
SHAPE = (3, 32, 32)
_WHERE = "https://www.cs.toronto.edu/~kriz/cifar.html"


@cache  # the campaign asks again after every stage
def check(path: str) -> str:
    """Return the SHA-256 of an archive that has the members of CIFAR-10.

    Raises
    ------
    ValueError
        If there is no such file, or it is no such archive.
    """
    members = _members(path)
    missing = [name for name in (*TRAINING, TEST) if name not in members]
    if missing:
        raise ValueError(f"{path} has no {', '.join(missing)}: {_wanted()}")
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache  # cells that run in the same process
def load(path: str) -> Digits:
    """Return the images of shape (N, 3, 32, 32), from -1 to 1, and their labels 0 to 9.

    Raises
    ------
    ValueError
        If there is no such file, or it is not the archive.
    """
    batches = [_batch(path, name) for name in (*TRAINING, TEST)]
    images = [torch.from_numpy(pixels).float().div_(127.5).sub_(1) for pixels, _ in batches]
    labels = [torch.from_numpy(found) for _, found in batches]
    return Digits(torch.cat(images[:-1]), torch.cat(labels[:-1]), images[-1], labels[-1])


def _wanted() -> str:
    return f"the Python version of CIFAR-10 is wanted, cifar-10-python.tar.gz from {_WHERE}"


def _members(path: str) -> set[str]:
    try:
        with tarfile.open(path) as archive:
            return set(archive.getnames())
    except (OSError, EOFError, tarfile.TarError) as error:
        raise ValueError(f"{path} cannot be read as an archive ({error}): {_wanted()}") from None


def _batch(path: str, name: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return pixels of shape (N, 3, 32, 32) and labels."""
    try:
        with tarfile.open(path) as archive:
            member = archive.extractfile(name)
            assert member is not None
            found = _Arrays(member).load()
            pixels = np.asarray(found[b"data"])
            labels = np.asarray(found[b"labels"], np.int64)
    except Exception as error:  # a damaged pickle may raise nearly anything
        raise ValueError(f"{path}: {name} cannot be read ({error}): {_wanted()}") from None
    size = int(np.prod(SHAPE))
    if pixels.dtype != np.uint8 or pixels.shape != (len(labels), size) or not len(labels):
        raise ValueError(
            f"{path}: {name} has pixels {pixels.dtype} of shape {pixels.shape} and {len(labels)} "
            f"labels: uint8 of shape (N, {size}) and N labels allowed"
        )
    if not 0 <= labels.min() <= labels.max() <= 9:
        raise ValueError(f"{path}: {name} has a label {labels.max()}: 0 to 9 allowed")
    return pixels.reshape(-1, *SHAPE), labels


class _Arrays(pickle.Unpickler):
    """Reads pickles of Python 2 that hold NumPy's arrays, and runs nothing else."""

    _ALLOWED = {  # noqa: RUF012
        "_reconstruct": np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
        "ndarray": np.ndarray,
        "dtype": np.dtype,
    }

    def __init__(self, file: IO[bytes]):
        super().__init__(file, encoding="bytes")

    def find_class(self, module: str, name: str) -> Any:
        """Return what makes an array, whatever NumPy's module is called that has it."""
        if module.split(".", maxsplit=1)[0] == "numpy" and name in self._ALLOWED:
            return self._ALLOWED[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")
