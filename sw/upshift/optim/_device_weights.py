"""Weights that live in a device, and parameters that mirror them.

A parameter's step becomes a burst in three moves: `prepare` encodes it, `send` decides its
resolution and hands it to the device, `take` brings its outcome into the parameter. Nothing but
``mirror="read"`` ever waits for the device in between: q_min is known before the burst is sent,
and the report that must come back is known as soon as the same step is computed here. It is
compared while the next step is under way.
"""

from __future__ import annotations

import operator
from collections import deque
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upshift import equation, rates, words
from upshift.device import Device, DeviceError, Pending
from upshift.equation import Scaled
from upshift.formats import Fixed, Float, Format, Raw
from upshift.optim._weights import HostWeights
from upshift.report import UpdateReport
from upshift.resolution import Policy

Mirror = Literal["read", "model"]


@dataclass
class Burst:
    """One parameter's step on its way to a device.

    Attributes
    ----------
    tensor : int
        Index of the parameter in the optimizer.
    base : int
        Address of its first weight.
    raw : ndarray of int, one-dimensional
        Its direction, in the device's gradient format.
    rate : int
        k of the learning rate 2**-k.
    scaled : Scaled
        What these words stand for, times the learning rate.
    resolution : int
        q; decided when the burst is sent.
    pending : Pending or None
        None until it is sent.
    """

    tensor: int
    base: int
    raw: NDArray[Any]
    rate: int
    scaled: Scaled
    resolution: int = 0
    pending: Pending | None = None


class _Expected(NamedTuple):
    """A report that the device owes, and what it has to be."""

    step: int
    tensor: int
    pending: Pending
    report: UpdateReport


class DeviceWeights(HostWeights):
    """Weights held by a device, mirrored in the parameters.

    Parameters
    ----------
    device : Device
    base : int
        Address of the first weight; parameters follow one another without padding.
    mirror : {"read", "model"}
        Read the device after each burst, or compute the same step here and compare the counters
        of every burst, at the latest one step later.
    check_every : int
        With ``mirror="model"``: steps between comparisons of all weights, by a checksum.
    """

    def __init__(self, device: Device, base: int, mirror: Mirror, check_every: int):
        super().__init__(device.config.weight, device.config.gradient)
        self.device = device
        self.mirror = mirror
        self.check_every = check_every
        self._start = self._end = base
        self._bases: dict[Tensor, int] = {}
        self._steps = 0
        self._owed: deque[_Expected] = deque()

    def add(self, parameters: list[Tensor]) -> None:
        """Take parameters in behind those before; raise if they do not fit."""
        for p in parameters:
            self.check(p)
        self.device.read(self._end, 1)  # raises if the device is closed or has no such address
        sizes = [p.numel() for p in [*self._bases, *parameters]]
        end = self._end + sum(p.numel() for p in parameters)
        depth = self.device.config.depth
        if end > depth:
            raise ValueError(
                f"parameters of sizes {sizes} end at address {end}, "
                f"but the device holds {depth} weights"
            )
        for p in parameters:
            self._bases[p] = self._end
            self._end += p.numel()
            self.load(p)

    def load(self, p: Tensor) -> None:
        """Encode the present values of a parameter and write them to the device."""
        super().load(p)
        if p.numel():
            self.device.write(self._bases[p], self._raw(p))

    def check_rate(self, lr: float, where: str) -> None:
        """Raise unless the learning rate is a power of two that the device takes."""
        rates.device_exponent(lr, self.device.config.max_rate, where)

    def update(self, p: Tensor, tensor: int, h: Tensor, lr: float, policy: Policy) -> UpdateReport:
        """Send one burst and mirror its outcome."""
        burst = self.prepare(p, tensor, h, lr)
        self.send(burst, policy)
        return self.take(p, burst)

    def prepare(self, p: Tensor, tensor: int, h: Tensor, lr: float) -> Burst:
        """Encode a finite direction."""
        config = self.device.config
        rate = rates.device_exponent(lr, config.max_rate, f"parameter {tensor}")
        raw, clipped = config.gradient.encode_counted(h.detach().cpu().numpy().ravel())
        values = torch.from_numpy(config.gradient.decode(raw)).view(p.shape).to(p.device)
        scaled = replace(equation.scale(values, lr), clipped=clipped)
        return Burst(tensor, self._bases[p], raw, rate, scaled)

    def send(self, burst: Burst, policy: Policy) -> None:
        """Decide the resolution of a burst and hand it to the device."""
        burst.resolution = policy.observe(burst.tensor, burst.scaled.needed)
        burst.pending = self.device.submit(
            burst.base, burst.raw, rate=burst.rate, resolution=burst.resolution
        )

    def take(self, p: Tensor, burst: Burst) -> UpdateReport:
        """Bring what a burst that was sent does into its parameter, and return its report."""
        assert burst.pending is not None
        step, needed = self._steps + 1, burst.scaled.needed
        if self.mirror == "model":
            new, expected = equation.apply(p, burst.scaled, burst.resolution, self.weight)
            p.copy_(new)
            told = expected._replace(clipped=0)  # the device was given raw words
            self._owed.append(_Expected(step, burst.tensor, burst.pending, told))
            return expected
        report = burst.pending.result()._replace(clipped=burst.scaled.clipped)
        if report.resolution_needed != needed:
            raise _lie(step, burst.tensor, report, f"q_min {needed}")
        held = self.device.config.weight.decode(self.device.read(burst.base, p.numel()))
        p.copy_(torch.from_numpy(held).view(p.shape))
        return report

    def finish(self) -> None:
        """End an optimizer step: compare what the step before is owed, and all when it is time."""
        self._collect(through=self._steps)
        self._steps += 1
        if self.mirror == "model" and self._steps % self.check_every == 0:
            self._compare()

    def collect(self) -> None:
        """Wait for all reports that the device owes and compare them."""
        self._collect(through=self._steps + 1)

    def _collect(self, through: int) -> None:
        while self._owed and self._owed[0].step <= through:
            step, tensor, pending, expected = self._owed[0]
            try:
                report = pending.result()
            except DeviceError as error:
                self._owed.clear()
                error.add_note(f"in step {step}, parameter {tensor}")
                raise
            if report != expected:
                self._owed.clear()  # what follows is wrong as well
                raise _lie(step, tensor, report, repr(expected))
            self._owed.popleft()

    def _compare(self) -> None:
        """Compare all weights with the host's, one by one only if their checksums differ."""
        count = self._end - self._start
        if not count:
            return
        ours = np.concatenate([self._raw(p) for p in self._bases])
        told = self.device.checksum(self._start, count)
        if told == words.checksum(ours, self.device.config.weight.width):
            return
        self.collect()  # a report that differs says more
        theirs = self.device.read(self._start, count)
        wrong = np.flatnonzero(ours != theirs)
        if not wrong.size:
            raise DeviceError(
                f"after step {self._steps} the device's checksum is {told:#010x}, "
                "which is not that of the weights it holds"
            )
        first = int(wrong[0])
        tensor = sum(base <= self._start + first for base in self._bases.values()) - 1
        raise DeviceError(
            f"after step {self._steps} {wrong.size} of {count} weights differ from the host's; "
            f"the first is weight {self._start + first}, of parameter {tensor}: "
            f"the device holds {theirs[first]}, the host {ours[first]}"
        )

    def _raw(self, p: Tensor) -> Raw:
        return self.device.config.weight.encode(p.detach().double().cpu().numpy().ravel())


def hold(
    weight: Fixed | None,
    gradient: Format | None,
    device: Device | None,
    *,
    base: int,
    mirror: Mirror | None,
    check_every: int,
) -> HostWeights:
    """Return who holds an optimizer's weights, from its arguments.

    Raises
    ------
    TypeError, ValueError
        If one is not allowed, or a format differs from the device's.
    """
    if mirror not in (None, "read", "model"):
        raise ValueError(f"mirror {mirror!r} is not allowed: 'read' or 'model'")
    if operator.index(check_every) < 1:
        raise ValueError(f"check_every {check_every} is not allowed: 1 or more")
    for name, given, allowed in (
        ("weight", weight, Fixed),
        ("gradient", gradient, Fixed | Float),
        ("device", device, Device),
    ):
        if given is not None and not isinstance(given, allowed):
            raise TypeError(f"{name} {given!r} is a {type(given).__name__}, not a {name}")
    if device is None:
        if mirror is not None or base:
            raise ValueError("base and mirror are for weights on a device, and there is none")
        return HostWeights(weight, gradient)
    config = device.config
    pairs = ("weight", weight, config.weight), ("gradient", gradient, config.gradient)
    for name, wanted, own in pairs:
        if wanted is not None and wanted != own:
            raise ValueError(f"{name} format {wanted} differs from the device's {own}")
    usual: Mirror = "model" if device.distant else "read"
    return DeviceWeights(device, operator.index(base), mirror or usual, check_every)


def _lie(step: int, tensor: int, report: UpdateReport, expected: str) -> DeviceError:
    return DeviceError(
        f"step {step}: the device reported {report} for parameter {tensor}, expected {expected}: "
        "it does not compute what the host does"
    )
