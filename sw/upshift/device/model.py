"""``model:``, the integer model behind the device API."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from upshift import reference
from upshift.config import UnitConfig
from upshift.device._device import Counters, Device, Pending, RefusedError
from upshift.formats import Raw
from upshift.report import Refusal, UpdateReport


class _Done:
    def __init__(self, outcome: UpdateReport | RefusedError):
        self._outcome = outcome

    def result(self) -> UpdateReport:
        if isinstance(self._outcome, RefusedError):
            raise self._outcome
        return self._outcome


class ModelDevice(Device):
    """`upshift.reference.step` on a memory of ``config.depth`` weights, all zero at first."""

    def __init__(self, config: UnitConfig):
        super().__init__(config)
        self._weights = np.zeros(config.depth, np.int64)
        self._floor = 0
        self._bursts = self._elements = self._beats = 0

    def counters(self) -> Counters:
        """Return what the device has done; the model has no clock."""
        return Counters(self._bursts, self._elements, self._beats, None, None, None)

    def _write(self, base: int, raw: NDArray[Any]) -> None:
        self._weights[base : base + raw.size] = raw

    def _read(self, base: int, count: int) -> Raw:
        return self._weights[base : base + count].copy()

    def _submit(self, base: int, raw: NDArray[Any], rate: int, resolution: int) -> Pending:
        self._beats += self.config.beats(base, raw.size)
        if resolution < self._floor:
            return _Done(RefusedError(Refusal.FLOOR))
        weights = self._weights[base : base + raw.size]
        weights[:], report = reference.step(
            weights, raw, config=self.config, rate=rate, resolution=resolution
        )
        self._bursts += 1
        self._elements += raw.size
        return _Done(report)

    def _raise_floor(self, resolution: int) -> None:
        if resolution < self._floor:
            raise RefusedError(Refusal.FLOOR)
        self._floor = resolution


def open_model(address: str, config: UnitConfig) -> ModelDevice:
    """Open ``model:``."""
    if address:
        raise ValueError(f"model: takes no address, got {address!r}")
    return ModelDevice(config)
