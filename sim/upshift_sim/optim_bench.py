"""Measures optimizers: a step's time as a ratio to torch's fused optimizer, and its memory.

Each round times all optimizers of a family one after another, so that ratios are of one run; the
table has their median and the worst. Peers that are not installed are listed with their error.
"""

from __future__ import annotations

import ctypes
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from upshift import equation
from upshift.formats import Fixed
from upshift.optim import Band, QtAdam, QtSGD, _pass
from upshift.optim._direction import Work
from upshift.optim.sgd import SGDDirection

SIZES = (1_000_000, 10_000_000, 100_000_000)
MANY = 1_000
"""Tensors of the rows with many."""

RATE = 2.0**-7
WEIGHT = Fixed(18, 16)
SHORT = Fixed(16, 14)
"""Format of the weights that are held as 16-bit integers."""

Step = Callable[[], object]
Make = Callable[[list[Tensor]], Step]


@dataclass(frozen=True)
class Row:
    """One optimizer at one size.

    Attributes
    ----------
    family, what : str
        Ratios are to the fused optimizer of the family.
    elements, tensors : int
    seconds : float
        Median time of a step.
    ratio, worst_ratio : float
        Speed over that of the fused optimizer, in the median and in the worst round.
    extra_bytes : int or None
        Peak memory for each parameter beside a float32 parameter and its gradient, so less than
        nothing for weights in 16 bits; measured at 10 million parameters in one tensor.
    """

    family: str
    what: str
    elements: int
    tensors: int
    seconds: float
    ratio: float
    worst_ratio: float
    extra_bytes: float | None


class ShortSGD:
    """The learning equation on weights that are held as 16-bit raw integers, by the same rule."""

    def __init__(self, parameters: list[Tensor]):
        self.parameters = parameters
        self.policy = Band()
        self.policy.bind(SHORT.fraction)
        unit = 2.0**SHORT.fraction
        encoded = [equation.encode(p.detach(), SHORT)[0] for p in parameters]
        self.raw = [(values * unit).to(torch.int16) for values in encoded]
        for p in parameters:
            p.data = p.new_empty(0)

    def step(self) -> None:
        """Take a step with the gradients of the parameters, which hold no weights any more."""
        for tensor, (p, raw) in enumerate(zip(self.parameters, self.raw, strict=True)):
            assert p.grad is not None
            foreseen = self.policy.foreseen(tensor)
            lows, highs = self._step(raw.view(-1), p.grad.view(-1), foreseen)
            needed = equation.needed(min(lows), max(highs), RATE, torch.float32)
            resolution = self.policy.observe(tensor, needed)
            if resolution != foreseen:
                self._step(raw.view(-1), p.grad.view(-1), resolution)

    def _step(self, raw: Tensor, g: Tensor, resolution: int) -> tuple[list[float], list[float]]:
        direction, found = SGDDirection(False, False, False, False), []
        grid = _pass.grid(RATE, resolution, g)._replace(down=2.0 ** (SHORT.fraction - resolution))
        for words, part in zip(*(torch.split(t, _pass.piece()) for t in (raw, g)), strict=True):
            w = words.float()
            told = _pass.in_place(direction, Work(w, part, (), ()), grid)
            assert told is not None
            found.append(told)
            words.copy_(w.clamp_(SHORT.min, SHORT.max))
        return [low for low, *_ in found], [high for _, high, *_ in found]


def _torch(kind: type[torch.optim.SGD | torch.optim.Adam], options: dict[str, Any]) -> Make:
    return lambda parameters: kind(parameters, RATE, **options).step


def _ours(kind: type[QtSGD | QtAdam], options: dict[str, Any]) -> Make:
    return lambda parameters: (
        kind(parameters, RATE, resolution=Band(), weight=WEIGHT, **options).step
    )


def _torchao() -> Make:
    from torchao.optim import Adam8bit

    return lambda parameters: Adam8bit(parameters, RATE).step


def _qpytorch() -> Make:
    from qtorch import FixedPoint
    from qtorch.optim import OptimLP
    from qtorch.quant import quantizer

    number = FixedPoint(WEIGHT.width, WEIGHT.fraction)
    quantize = quantizer(forward_number=number, forward_rounding="nearest")
    return lambda parameters: OptimLP(torch.optim.SGD(parameters, RATE), weight_quant=quantize).step


_WAYS: dict[str, dict[str, Any]] = {
    "fused": {"fused": True},
    "foreach": {"foreach": True},
    "plain": {"foreach": False},
}


def families() -> tuple[dict[str, dict[str, Make]], dict[str, str]]:
    """Return the optimizers of each family, the fused one first, and the peers that are missing."""
    found: dict[str, dict[str, Make]] = {}
    for family, kind, quantized, options in (
        ("SGD", torch.optim.SGD, QtSGD, {}),
        ("SGD, momentum 0.9", torch.optim.SGD, QtSGD, {"momentum": 0.9}),
        ("Adam", torch.optim.Adam, QtAdam, {}),
    ):
        name = quantized.__name__
        found[family] = {
            **{f"torch {way}": _torch(kind, extra | options) for way, extra in _WAYS.items()},
            name: _ours(quantized, options),
            f"{name}, nonfinite leave": _ours(quantized, {"nonfinite": "leave"} | options),
            f"{name}, no compiler": _ours(quantized, {"compiled": False} | options),
        }
    found["SGD"]["rule on int16 weights, no compiler"] = lambda parameters: (
        ShortSGD(parameters).step
    )
    missing = {}
    for name, family, make in (
        ("torchao Adam8bit", "Adam", _torchao),
        ("QPyTorch SGD", "SGD", _qpytorch),
    ):
        try:
            found[family][name] = make()
        except Exception as error:  # whatever a peer stumbles over
            missing[name] = f"{type(error).__name__}: {error}"
    return found, missing


def measure(
    sizes: tuple[int, ...], rounds: int, doing: Callable[[str], None] = lambda what: None
) -> dict[str, Any]:
    """Measure all families at some sizes, with one and with many tensors.

    Parameters
    ----------
    sizes : tuple of int
        Parameters in all.
    rounds : int
        Of each row; a fifth above 10 million parameters.
    doing : callable, optional
        Called with what is measured next.

    Returns
    -------
    dict
        ``rows``, ``missing`` and ``machine``, as primitives.
    """
    rows: list[Row] = []
    optimizers, missing = families()
    for size in sizes:
        for tensors in (1, MANY):
            for family, makes in optimizers.items():
                what = f"{family}, {size:,} parameters in {tensors:,}"
                need = 16 * size * len(makes)  # bytes, if each had two moments
                if need > _available():
                    missing[what] = f"needs {need / 1e9:.0f} GB of memory, skipped"
                    continue
                doing(what)
                few = rounds if size <= SIZES[1] else -(-rounds // 5)
                found, failed = _family(family, makes, (size, tensors), few)
                rows += found
                missing |= {f"{name}, {what}": error for name, error in failed.items()}
    return {"machine": _machine(), "missing": missing, "rows": [asdict(row) for row in rows]}


def _family(
    family: str, makes: dict[str, Make], shape: tuple[int, int], rounds: int
) -> tuple[list[Row], dict[str, str]]:
    size, _ = shape
    steps: dict[str, Step] = {}
    failed: dict[str, str] = {}
    gradients = _random(*shape, 2.0**-7)
    for name, make in makes.items():
        try:
            steps[name] = make(_parameters(*shape, gradients))
            for _ in range(2):
                steps[name]()  # warms up, and compiles
        except Exception as error:
            steps.pop(name, None)
            failed[name] = f"{type(error).__name__}: {error}"
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            clock = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - clock)
    steps.clear()
    reference = next(iter(times.values()))
    rows = []
    for name, taken in times.items():
        ratios = [one / own for one, own in zip(reference, taken, strict=True)]
        extra = _extra(family, name, size) if shape == (SIZES[1], 1) else None
        middle = statistics.median(taken), statistics.median(ratios)
        rows.append(Row(family, name, *shape, *middle, min(ratios), extra))
    return rows, failed


def _random(size: int, tensors: int, scale: float) -> list[Tensor]:
    source = torch.Generator().manual_seed(0)
    each = size // tensors
    return [torch.randn(each, generator=source).mul_(scale) for _ in range(tensors)]


def _parameters(size: int, tensors: int, gradients: list[Tensor]) -> list[Tensor]:
    parameters: list[Tensor] = []
    for w, g in zip(_random(size, tensors, 0.125), gradients, strict=True):
        parameters.append(torch.nn.Parameter(w))
        parameters[-1].grad = g
    return parameters


def extra_bytes(family: str, what: str, size: int) -> float:
    """Return the peak bytes of a parameter in two steps, beside itself in float32 and its gradient.

    For a process of its own, since memory that was freed is not always given back.
    """
    make = families()[0][family][what]
    make(_parameters(1 << 17, 1, _random(1 << 17, 1, 1.0)))()  # compiles
    gradients = _random(size, 1, 2.0**-7)
    ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back, as far as it can
    before = _status("VmRSS")
    step = make(_parameters(size, 1, gradients))
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    for _ in range(2):
        step()
    return (_status("VmHWM") - before) / size - 4


def _extra(family: str, what: str, size: int) -> float | None:
    call = f"print(optim_bench.extra_bytes({family!r}, {what!r}, {size}))"
    code = f"from upshift_sim import optim_bench; {call}"
    found = []
    for _ in range(3):  # the least of them, since threads of the process may add memory of theirs
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        found += [float(done.stdout.split()[-1])] if done.returncode == 0 else []
    return min(found, default=None)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def _available() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))


def _machine() -> dict[str, Any]:
    names = ("upshift", "torch", "numpy", "torchao", "qtorch")
    versions = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    model = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": model[0] if model else platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **versions,
    }
