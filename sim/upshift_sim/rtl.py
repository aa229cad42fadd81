"""``rtl:``, the update unit's own RTL, compiled to native code, behind the device API.

Bursts are queued by `submit` and run back to back, clock by clock, inside one call of the
compiled harness; no Python runs per clock.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upshift import layout, registers
from upshift.config import UnitConfig
from upshift.device import Counters, Device, DeviceError, Pending, RefusedError
from upshift.formats import Raw
from upshift.layout import Operation
from upshift.report import Refusal, UpdateReport
from upshift.vectors import Vector
from upshift_sim import compiled

_QUEUE_BURSTS = 256
_QUEUE_ELEMENTS = 1 << 22
_NO_WORDS = np.zeros(0, np.int8)


class _Burst:
    """A submitted burst; its device fills in the report."""

    def __init__(self, device: RtlDevice, elements: int):
        self._device = device
        self.elements = elements
        self.report: list[int] | None = None

    def result(self) -> UpdateReport:
        if self.report is None:
            self._device.flush()
        if self.report is None:
            raise DeviceError("the device was closed or failed before this burst was run")
        elements, nonzero, saturated, nonfinite, needed_valid, needed, refusal = self.report
        if refusal:
            raise RefusedError(Refusal(refusal))
        return UpdateReport(
            elements, nonzero, saturated, nonfinite, 0, needed if needed_valid else None
        )


class RtlDevice(Device):
    """An update unit compiled from its RTL.

    Parameters
    ----------
    config : UnitConfig
    fault : int, optional
        Seed of a one-bit fault in the gateware.

    Raises
    ------
    DeviceError
        If the unit cannot be compiled, or its identity is not that of `config`.
    """

    def __init__(self, config: UnitConfig, *, fault: int | None = None):
        super().__init__(config)
        path, self.opening = compiled.build(config, fault=fault)
        self._library = _load(str(path), config)
        self._handle = self._library.upshift_open()
        # Beside the unit: the weights that stream through it, or what it tells of its own.
        self._beside = np.zeros(config.depth, np.int64)
        self._queue: list[_Burst] = []
        self._queued_elements = 0
        self._words: list[NDArray[Any]] = []
        self._commands: list[int] = []  # operation, base, count, rate, resolution of each
        self._bursts = self._elements = 0
        self._events = {"clocks": 0, "beats": 0, "stalls": 0, "waits": 0}
        self._seen = dict.fromkeys(self._events, 0)
        self._since_counted = 0
        for name, value in registers.identity(config).items():
            found = self.read_register(name)
            if found != value:
                raise DeviceError(f"the unit's {name} register is {found:#x}, not {value:#x}")

    def read_register(self, name: str) -> int:
        """Return the value of a register of `upshift.registers`."""
        self._check_open()
        address = registers.BY_NAME[name].address
        return int(self._library.upshift_read_register(self._handle, address))

    def flush(self) -> None:
        """Run all submitted bursts."""
        count = len(self._queue)
        if not count:
            return
        queue, self._queue, self._queued_elements = self._queue, [], 0
        words, self._words = self._words, []
        commands, self._commands = np.array(self._commands, np.int64), []
        reports = np.empty((count, 7), np.int64)
        gradients = words[0] if len(words) == 1 else np.concatenate([_NO_WORDS, *words])
        _check(
            self._library.upshift_run(
                self._handle,
                count,
                commands.ctypes.data,
                gradients.ctypes.data,
                gradients.itemsize,
                self._beside.ctypes.data,
                reports.ctypes.data,
            )
        )
        for burst, report in zip(queue, reports.tolist(), strict=True):
            burst.report = report
            if not report[-1]:
                self._bursts += burst.elements > 0
                self._elements += burst.elements
        self._since_counted += gradients.size + 64 * count
        if self._since_counted > 1 << 30:
            self._count_events()

    def play(self, vectors: Iterable[Vector]) -> list[dict[str, int]]:
        """Send commands as they are, those that the unit must refuse included.

        Parameters
        ----------
        vectors : iterable of Vector

        Returns
        -------
        list of dict
            The fields of each report (`upshift.layout.report`).

        Raises
        ------
        ValueError
            If a field or a gradient does not fit its port; nothing has been sent then.
        """
        self._check_open()
        vectors = list(vectors)
        for vector in vectors:
            layout.pack(layout.command(self.config), vector.command.fields())
            self.config.gradient.check(vector.gradients)
        bursts = []
        for vector in vectors:
            command = vector.command
            if command.operation == Operation.UPDATE and command.count:
                self._words.append(vector.gradients.astype(np.int64))
            bursts.append(self._enqueue(*command.fields().values()))
        self.flush()
        names = [field.name for field in layout.report(self.config)]
        return [dict(zip(names, burst.report or (), strict=True)) for burst in bursts]

    def mirrored(self) -> Raw:
        """Return the weights as a reader of the stream of updates knows them.

        Raises
        ------
        ValueError
            If the unit has no such stream.
        """
        if not self.config.updates:
            raise ValueError("only a unit with updates tells what it writes")
        self.flush()
        return self._beside.copy()

    def bare_loop(self, bursts: int, beats: int, gradients: Raw, *, rate: int = 0) -> float:
        """Run full-width bursts without the device API and return the seconds they took.

        This is what `upshift bench` compares the API with. Weights from address 0 are updated at
        the largest resolution.

        Parameters
        ----------
        bursts, beats : int
            Bursts, and beats of each.
        gradients : ndarray of int64, shape (rows, lanes)
            Beats to repeat.
        rate : int
            k of the learning rate 2**-k.
        """
        self._check_open()
        self.flush()
        if gradients.shape[1:] != (self.config.lanes,):
            raise ValueError(f"gradients of shape {gradients.shape} are not rows of lanes")
        words = np.ascontiguousarray(gradients, np.int64)
        nanoseconds = self._library.upshift_bare_loop(
            self._handle,
            bursts,
            beats,
            rate,
            self.config.max_resolution,
            words.ctypes.data,
            words.shape[0],
        )
        return float(nanoseconds) * 1e-9

    def close(self) -> None:
        """Run what was submitted and free the unit."""
        if self._open:
            try:
                self.flush()
            finally:
                super().close()
                self._library.upshift_close(self._handle)
                self._handle = None

    # -- backend --------------------------------------------------------------------------------

    def _write(self, base: int, raw: NDArray[Any]) -> None:
        self.flush()
        self._beside[base : base + raw.size] = raw
        if self.config.memory == "streamed":
            return
        words = np.ascontiguousarray(raw, np.int64)
        _check(self._library.upshift_write(self._handle, base, words.size, words.ctypes.data))

    def _read(self, base: int, count: int) -> Raw:
        self.flush()
        if self.config.memory == "streamed":
            return self._beside[base : base + count].copy()
        words = np.empty(count, np.int64)
        _check(self._library.upshift_read(self._handle, base, count, words.ctypes.data))
        return words

    def _submit(self, base: int, raw: NDArray[Any], rate: int, resolution: int) -> Pending:
        self._words.append(raw.copy())  # the caller may reuse its own
        return self._enqueue(Operation.UPDATE, base, raw.size, rate, resolution)

    def _raise_floor(self, resolution: int) -> None:
        self._enqueue(Operation.RAISE, 0, 0, 0, resolution).result()

    def _enqueue(self, *command: int) -> _Burst:
        self._commands += command
        burst = _Burst(self, elements=command[2] if command[0] == Operation.UPDATE else 0)
        self._queue.append(burst)
        self._queued_elements += burst.elements
        if len(self._queue) == _QUEUE_BURSTS or self._queued_elements > _QUEUE_ELEMENTS:
            self.flush()
        return burst

    def _counters(self) -> Counters:
        self.flush()
        self._count_events()
        return Counters(self._bursts, self._elements, **self._events)

    def _count_events(self) -> None:
        for name in self._events:
            now = self.read_register(name)
            self._events[name] += (now - self._seen[name]) % (1 << 32)
            self._seen[name] = now
        self._since_counted = 0


def _check(status: int) -> None:
    if status:
        raise DeviceError(f"the compiled unit did not answer (status {status})")


def _load(path: str, config: UnitConfig) -> ctypes.CDLL:
    library = ctypes.CDLL(path)
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    signatures: dict[str, tuple[list[Any], Any]] = {
        "upshift_open": ([], pointer),
        "upshift_close": ([pointer], None),
        "upshift_read_register": ([pointer, ctypes.c_uint32], ctypes.c_uint32),
        "upshift_run": (
            [pointer, integer, pointer, pointer, integer, pointer, pointer],
            ctypes.c_int,
        ),
        "upshift_bare_loop": (
            [pointer, integer, integer, integer, integer, pointer, integer],
            integer,
        ),
    }
    if config.memory == "resident":
        for name in ("upshift_write", "upshift_read"):
            signatures[name] = [pointer, integer, integer, pointer], ctypes.c_int
    for name, (arguments, result) in signatures.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, result
    return library


def open_rtl(
    address: str,
    config: UnitConfig | None,
    default: UnitConfig,
    *,
    fault: str | None = None,
) -> RtlDevice:
    """Open ``rtl:`` or ``rtl:?fault=SEED``."""
    if address:
        raise ValueError(f"rtl: takes no address, got {address!r}")
    if fault is not None and not fault.isdecimal():
        raise ValueError(f"rtl: option fault={fault!r} is not allowed: a seed such as 1")
    return RtlDevice(config or default, fault=None if fault is None else int(fault))
