"""Where an optimizer's weights live: in the parameters alone, or in a device they mirror.

`HostWeights` applies the learning equation to the parameter tensor. `DeviceWeights` sends bursts
to a device and keeps the parameters equal to its memory, by reading it back after each step or by
applying the same equation on the host and comparing.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from upshift import equation, rates
from upshift.device import Device, DeviceError
from upshift.formats import Fixed, Format
from upshift.report import UpdateReport
from upshift.resolution import Constant, Policy, resolution_needed

Mirror = Literal["read", "model"]


class HostWeights:
    """Weights held in the parameters, as floats or on the grid of a fixed-point format."""

    def __init__(self, weight: Fixed | None, gradient: Format | None):
        self.weight = weight
        self.gradient = gradient

    def add(self, parameters: list[Tensor]) -> None:
        """Take parameters in; raise if they cannot be held."""
        for p in parameters:
            self.check(p)
        for p in parameters:
            self.load(p)

    def load(self, p: Tensor) -> None:
        """Take the present values of a parameter, which were checked, as its weights."""
        if self.weight is not None:
            p.copy_(equation.encode(p, self.weight)[0])

    def check_rate(self, lr: float, where: str) -> None:
        """Raise unless the learning rate can be applied."""

    def update(self, p: Tensor, tensor: int, h: Tensor, lr: float, policy: Policy) -> UpdateReport:
        """Apply one step to a parameter and return its report."""
        scaled = equation.scale(h, lr, self.gradient)
        resolution = policy.observe(tensor, scaled.needed)
        new, report = equation.apply(p, scaled, resolution, self.weight)
        p.copy_(new)
        return report

    def finish(self) -> None:
        """End an optimizer step."""

    def check(self, p: Tensor) -> None:
        """Raise unless the parameter can be held as it is now."""
        if p.layout != torch.strided:
            raise TypeError(f"{p.layout} parameters are not allowed: dense ones")
        widest = equation.widest_fixed(p.dtype)
        if self.weight is None:
            return
        if self.weight.width > widest:
            raise ValueError(
                f"{p.dtype} parameters cannot hold weights of {self.weight.width} bits: "
                f"up to {widest} bits allowed, or 54 on torch.float64"
            )
        if not bool(p.isfinite().all()):
            raise ValueError(f"a parameter of shape {tuple(p.shape)} is not finite")


class DeviceWeights(HostWeights):
    """Weights held by a device, mirrored in the parameters.

    Parameters
    ----------
    device : Device
    base : int
        Address of the first weight; parameters follow one another without padding.
    mirror : {"read", "model"}
        Read the device after each burst, or compute the same step here and compare the counters
        of every burst.
    check_every : int
        With ``mirror="model"``: steps between comparisons of all weights.
    """

    def __init__(self, device: Device, base: int, mirror: Mirror, check_every: int):
        super().__init__(device.config.weight, device.config.gradient)
        self.device = device
        self.mirror = mirror
        self.check_every = check_every
        self._end = base
        self._bases: dict[Tensor, int] = {}
        self._steps = 0

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
            self.device.write(self._bases[p], p.detach().double().cpu().numpy().ravel())

    def check_rate(self, lr: float, where: str) -> None:
        """Raise unless the learning rate is a power of two that the device takes."""
        rates.device_exponent(lr, self.device.config.max_rate, where)

    def update(self, p: Tensor, tensor: int, h: Tensor, lr: float, policy: Policy) -> UpdateReport:
        """Send one burst and mirror its outcome."""
        config = self.device.config
        raw, clipped = config.gradient.encode_counted(h.detach().cpu().numpy().ravel())
        values = torch.from_numpy(config.gradient.decode(raw))
        finite = torch.where(values.isfinite(), values, 0.0)
        rate = rates.device_exponent(lr, config.max_rate, f"parameter {tensor}")
        needed = resolution_needed(float(finite.min()), float(finite.max()), rate)
        resolution = policy.observe(tensor, needed)
        base = self._bases[p]
        told = self.device.update(base, raw, rate=rate, resolution=resolution)
        report = told._replace(clipped=clipped)
        if self.mirror == "read":
            self._agree(report.resolution_needed == needed, tensor, report, f"q_min {needed}")
            words = self.device.read(base, p.numel())
            p.copy_(torch.from_numpy(config.weight.decode(words)).view(p.shape))
        else:
            expected = super().update(p, tensor, h, lr, Constant(resolution))
            self._agree(report == expected, tensor, report, repr(expected))
        return report

    def finish(self) -> None:
        """Compare all weights when it is time to."""
        self._steps += 1
        if self.mirror == "model" and self._steps % self.check_every == 0:
            for p, base in self._bases.items():
                words = torch.from_numpy(
                    self.device.config.weight.decode(self.device.read(base, p.numel()))
                )
                wrong = int(torch.count_nonzero(words != p.detach().double().cpu().ravel()))
                if wrong:
                    raise DeviceError(
                        f"{wrong} of {p.numel()} weights from address {base} on differ from the "
                        f"host's after step {self._steps}"
                    )

    def _agree(self, equal: bool, tensor: int, report: UpdateReport, expected: str) -> None:
        if not equal:
            raise DeviceError(
                f"the device reported {report} for parameter {tensor}, expected {expected}: "
                "it does not compute what the host does"
            )
