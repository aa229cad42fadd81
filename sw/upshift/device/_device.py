"""What every device does: check, encode, and hand raw words to its own backend.

A call is checked whole before the backend sees it, so that a call that raises has changed
nothing.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from upshift import words
from upshift.config import UnitConfig
from upshift.formats import Fixed, Format, Raw
from upshift.reference import check_rate, check_resolution
from upshift.report import Refusal, UpdateReport


class DeviceError(RuntimeError):
    """The device is missing, broken, or not the one that was asked for."""


class RefusedError(DeviceError):
    """The update unit itself refused a command; no weight changed."""

    def __init__(self, refusal: Refusal):
        self.refusal = refusal
        causes = ", ".join((cause.name or "").lower() for cause in refusal)
        super().__init__(f"the update unit refused the command: {causes}; no weight changed")


@dataclass(frozen=True)
class Counters:
    """What a device has done since it was opened.

    Attributes
    ----------
    bursts, elements, beats : int
        Work done; refused bursts are not counted in the first two.
    clocks : int or None
        Clocks with a burst in progress: ``beats + stalls + waits``. None without a clock.
    stalls : int or None
        Clocks that waited for a gradient, for its weights where they stream, or for room for what
        leaves.
    waits : int or None
        Clocks that waited for a weight in flight inside the unit.
    """

    bursts: int
    elements: int
    beats: int
    clocks: int | None
    stalls: int | None
    waits: int | None


class Pending(Protocol):
    """A burst that has been handed over."""

    def result(self) -> UpdateReport:
        """Wait for the burst and return its report, or raise what it met."""
        ...


class Device(ABC):
    """An update unit. Use as a context manager, or call `close`.

    Attributes
    ----------
    config : UnitConfig
    opening : dict
        Seconds of each phase of opening, where a device has phases.
    distant : bool
        Reading all weights takes long against updating them, as behind a serial line.
    """

    distant: ClassVar[bool] = False

    def __init__(self, config: UnitConfig):
        self.config = config
        self.opening: dict[str, float] = {}
        self._open = True

    # -- for users --------------------------------------------------------------------------

    def write(self, base: int, weights: ArrayLike) -> None:
        """Write weights from address `base` on.

        Parameters
        ----------
        base : int
        weights : array_like, one-dimensional
            Integers are raw words, floats are values to encode.

        Raises
        ------
        TypeError, ValueError
            If the array or the range does not fit; nothing is written.
        """
        raw, _ = self._raw(weights, self.config.weight, "weights")
        self._write(self._check_range(base, raw.size)[0], raw)

    def read(self, base: int, count: int) -> Raw:
        """Return `count` raw weights from address `base` on, as int64."""
        return self._read(*self._check_range(base, count))

    def checksum(self, base: int, count: int) -> int:
        """Return a CRC-32 of `count` weights from address `base` on.

        It is `upshift.words.checksum` of what `read` would return. A distant device computes it
        itself, so that comparing all weights costs one answer instead of all weights.
        """
        return self._checksum(*self._check_range(base, count))

    def update(
        self, base: int, gradients: ArrayLike, *, rate: int, resolution: int
    ) -> UpdateReport:
        """Update weights from address `base` on by one burst and return its report.

        Parameters
        ----------
        base : int
        gradients : array_like, one-dimensional
            Integers are raw words in ``config.gradient``, floats are values to encode.
        rate : int
            k of the learning rate 2**-k.
        resolution : int
            q.

        Raises
        ------
        TypeError, ValueError
            If an argument lies outside what `config` allows, or a gradient is NaN.
        RefusedError
            If the unit refuses the burst, for a resolution below its floor. In all cases no
            weight has changed.
        """
        return self.submit(base, gradients, rate=rate, resolution=resolution).result()

    def submit(self, base: int, gradients: ArrayLike, *, rate: int, resolution: int) -> Pending:
        """Hand a burst over and return at once; bursts are applied in the order of submission.

        Takes and raises what `update` does; what the unit refuses is raised by ``result()``.
        """
        raw, clipped = self._raw(gradients, self.config.gradient, "gradients")
        pending = self._submit(
            self._check_range(base, raw.size)[0],
            raw,
            check_rate(self.config, rate),
            check_resolution(self.config, resolution),
        )
        return _Clipped(pending, clipped) if clipped else pending

    def raise_floor(self, resolution: int) -> None:
        """Make the unit refuse bursts below `resolution` from now on.

        Raises
        ------
        ValueError
            If the resolution exceeds the weights' fraction bits.
        RefusedError
            If it lies below the floor: a floor never falls.
        """
        self._check_open()
        self._raise_floor(check_resolution(self.config, resolution))

    def counters(self) -> Counters:
        """Return what the device has done since it was opened."""
        self._check_open()
        return self._counters()

    def close(self) -> None:
        """Release the device. Other calls then raise DeviceError."""
        self._open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- for backends: raw words, already checked -------------------------------------------

    @abstractmethod
    def _write(self, base: int, raw: NDArray[Any]) -> None: ...

    @abstractmethod
    def _read(self, base: int, count: int) -> Raw: ...

    def _checksum(self, base: int, count: int) -> int:
        return words.checksum(self._read(base, count), self.config.weight.width)

    @abstractmethod
    def _submit(self, base: int, raw: NDArray[Any], rate: int, resolution: int) -> Pending: ...

    @abstractmethod
    def _raise_floor(self, resolution: int) -> None: ...

    @abstractmethod
    def _counters(self) -> Counters: ...

    # -- checks ---------------------------------------------------------------------------------

    def _raw(self, values: ArrayLike, fmt: Format, name: str) -> tuple[NDArray[Any], int]:
        """Return raw words of any integer dtype, and how many values were clipped."""
        array = np.asarray(values)
        if array.ndim != 1:
            raise ValueError(f"{name} must be one-dimensional, not of shape {array.shape}")
        if array.dtype.kind == "f":
            return fmt.encode_counted(array)
        signed = array.dtype.kind == "i" and array.dtype.isnative
        if signed and isinstance(fmt, Fixed) and 8 * array.dtype.itemsize <= fmt.width:
            return array, 0  # a dtype this narrow has no word outside the format
        return fmt.check(array), 0

    def _check_open(self) -> None:
        if not self._open:
            raise DeviceError("the device is closed")

    def _check_range(self, base: SupportsIndex, count: SupportsIndex) -> tuple[int, int]:
        self._check_open()
        base, count = operator.index(base), operator.index(count)
        if base < 0 or count < 1 or base + count > self.config.depth:
            raise ValueError(
                f"weights {base} to {base + count - 1} are not allowed: "
                f"one or more within 0 to {self.config.depth - 1}"
            )
        return base, count


class _Clipped:
    """A burst whose values were clipped when they were encoded, which no unit can know."""

    def __init__(self, pending: Pending, clipped: int):
        self._pending = pending
        self._clipped = clipped

    def result(self) -> UpdateReport:
        return self._pending.result()._replace(clipped=self._clipped)
