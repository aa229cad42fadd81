"""``model:``, the integer model behind the device API."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from upshift import layout, reference
from upshift.config import UnitConfig
from upshift.device._device import Counters, Device, Pending, RefusedError
from upshift.formats import Raw
from upshift.layout import Operation
from upshift.reference import Command
from upshift.report import Refusal, UpdateReport


class _Done:
    def __init__(self, fields: dict[str, int]):
        self._fields = fields

    def result(self) -> UpdateReport:
        if self._fields["refusal"]:
            raise RefusedError(Refusal(self._fields["refusal"]))
        return layout.to_report(self._fields)


class ModelDevice(Device):
    """`upshift.reference.Unit` behind the device API; it has no clock to count."""

    def __init__(self, config: UnitConfig):
        super().__init__(config)
        self._unit = reference.Unit(config)
        self._bursts = self._elements = self._beats = 0

    def _counters(self) -> Counters:
        return Counters(self._bursts, self._elements, self._beats, None, None, None)

    def _write(self, base: int, raw: NDArray[Any]) -> None:
        self._unit.weights[base : base + raw.size] = raw

    def _read(self, base: int, count: int) -> Raw:
        return self._unit.weights[base : base + count].copy()

    def _submit(self, base: int, raw: NDArray[Any], rate: int, resolution: int) -> Pending:
        fields = self._unit.execute(
            Command(Operation.UPDATE, base, raw.size, rate, resolution), raw
        )
        self._beats += self.config.beats(base, raw.size)
        self._bursts += not fields["refusal"]
        self._elements += fields["elements"]
        return _Done(fields)

    def _raise_floor(self, resolution: int) -> None:
        fields = self._unit.execute(Command(Operation.RAISE, resolution=resolution), ())
        _Done(fields).result()


def open_model(address: str, config: UnitConfig | None, default: UnitConfig) -> ModelDevice:
    """Open ``model:``."""
    if address:
        raise ValueError(f"model: takes no address, got {address!r}")
    return ModelDevice(config or default)
