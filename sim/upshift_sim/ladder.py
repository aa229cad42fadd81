"""The verification ladder: every rung plays the same vectors and must equal the integer model.

exact rationals = integer model = torch = Amaranth's simulator = Verilog under cocotb (Icarus,
Verilator) = compiled RTL. Equal means ``==`` on every weight and every report.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from upshift import rational, vectors
from upshift.config import UnitConfig
from upshift.formats import Fixed, Raw
from upshift.layout import Operation
from upshift.reference import Command, Unit
from upshift.vectors import Vector
from upshift_sim.bench import runner
from upshift_sim.compiled import CompilerMissingError
from upshift_sim.pysim import simulate
from upshift_sim.replay import Reports, difference, play
from upshift_sim.rtl import RtlDevice

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Rung:
    """The outcome of one rung.

    Attributes
    ----------
    name : str
    updates, weights, reports : int
        Weight updates made; weights and reports compared.
    failure : str
        What differed; empty if nothing did.
    missing : str
        Why the rung could not be climbed; empty if it was.
    seconds : float
    """

    name: str
    updates: int
    weights: int
    reports: int
    failure: str
    missing: str
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What all rungs of one climb have in common."""

    config: UnitConfig
    weights: Raw
    vectors: list[Vector]
    bursts: int
    seed: int
    fault: int | None
    waves: Path | None


def climb(
    config: UnitConfig,
    *,
    bursts: int = 200,
    seed: int = 0,
    fault: int | None = None,
    waves: Path | None = None,
    starting: Callable[[str], None] = lambda name: None,
) -> Iterator[Rung]:
    """Climb the ladder for one configuration.

    Parameters
    ----------
    config : UnitConfig
    bursts : int
        Random bursts, in front of the named corners.
    seed : int
        Of weights, bursts and pauses.
    fault : int, optional
        Seed of a one-bit fault in the gateware, to see that the ladder notices.
    waves : Path, optional
        Directory for the waveforms of the cocotb rungs.
    starting : callable, optional
        Called with the name of each rung before it is climbed.

    Yields
    ------
    Rung
    """
    plan = Plan(
        config,
        vectors.initial_weights(config, seed),
        vectors.standard(config, bursts, seed),
        bursts,
        seed,
        fault,
        waves,
    )
    expected = vectors.expect(config, plan.weights, plan.vectors)
    rungs: list[tuple[str, Callable[[Plan], tuple[Raw, Reports]]]] = [
        ("exact rationals", _rationals),
        ("torch", _torch),
        ("Amaranth simulator", _pysim),
        ("compiled RTL", _compiled),
    ]
    for name, run in rungs:
        starting(name)
        yield _compare(name, run, plan, expected)
    with tempfile.TemporaryDirectory() as temporary:
        for name, simulator in (("Icarus, cocotb", "icarus"), ("Verilator, cocotb", "verilator")):
            starting(name)
            yield _cocotb(name, simulator, plan, waves or Path(temporary))


def _compare(
    name: str,
    run: Callable[[Plan], tuple[Raw, Reports]],
    plan: Plan,
    expected: tuple[Raw, Reports],
) -> Rung:
    clock = time.perf_counter()
    try:
        weights, reports = run(plan)
    except CompilerMissingError as error:
        return Rung(name, 0, 0, 0, "", str(error), time.perf_counter() - clock)
    seconds = time.perf_counter() - clock
    failure = difference((weights, reports), expected)
    updates = sum(report["elements"] for report in expected[1])
    return Rung(name, updates, weights.size, len(reports), failure, "", seconds)


def _play(plan: Plan, update: Callable[[Command, Raw], dict[str, int]]) -> Reports:
    """Return all reports; `update` makes those of accepted updates, the model the others."""
    unit = Unit(plan.config)
    reports = []
    for vector in plan.vectors:
        command = vector.command
        if unit.refusal(command) or command.operation != Operation.UPDATE:
            reports.append(unit.execute(command, ()))
        else:
            reports.append(update(command, vector.gradients))
    return reports


def _rationals(plan: Plan) -> tuple[Raw, Reports]:
    config, fmt = plan.config, plan.config.weight
    ulp = Fraction(1, 2**fmt.fraction)
    held = [int(word) * ulp for word in plan.weights]
    highest = 2 * max(map(abs, config.needed_range))

    def update(command: Command, gradients: Raw) -> dict[str, int]:
        decoded = config.gradient.decode(gradients)
        # A gradient that is not finite leaves its weight as it was.
        values = {n: Fraction(g) for n, g in enumerate(decoded.tolist()) if math.isfinite(g)}
        nonzero = saturated = 0
        for n, gradient in values.items():
            held[command.base + n], stepped, clamped = rational.step(
                held[command.base + n],
                gradient,
                rate=command.rate,
                resolution=command.resolution,
                fmt=fmt,
            )
            nonzero += stepped
            saturated += clamped
        # q_min is monotone in the magnitude, so the extremes decide.
        extremes = [min(values.values()), max(values.values())] if values else []
        return _report(
            command.count,
            nonzero,
            saturated,
            command.count - len(values),
            rational.needed(extremes, command.rate, highest),
        )

    reports = _play(plan, update)
    return np.array([int(value / ulp) for value in held]), reports


def _torch(plan: Plan) -> tuple[Raw, Reports]:
    import torch

    from upshift import equation

    config = plan.config
    dtype = _narrowest(config.weight)
    held = torch.from_numpy(config.weight.decode(plan.weights)).to(dtype)

    def update(command: Command, gradients: Raw) -> dict[str, int]:
        part = held[command.base : command.base + command.count]
        h = torch.from_numpy(config.gradient.decode(gradients))
        if config.gradient.width <= equation.widest_fixed(dtype):
            h = h.to(dtype)
        scaled = equation.scale(h, 2.0**-command.rate)
        new, told = equation.apply(part, scaled, command.resolution, config.weight)
        part.copy_(new)
        return _report(
            told.elements, told.nonzero, told.saturated, told.nonfinite, told.resolution_needed
        )

    reports = _play(plan, update)
    return config.weight.encode(held.numpy()), reports


def _narrowest(weight: Fixed) -> torch.dtype:
    """Return the torch dtype that holds the weights with fewest bits."""
    import torch

    from upshift import equation

    fits = weight.width <= equation.widest_fixed(torch.float32)
    return torch.float32 if fits else torch.float64


def _report(
    elements: int, nonzero: int, saturated: int, nonfinite: int, needed: int | None
) -> dict[str, int]:
    return {
        "elements": elements,
        "nonzero": nonzero,
        "saturated": saturated,
        "nonfinite": nonfinite,
        "needed_valid": int(needed is not None),
        "needed": needed or 0,
        "refusal": 0,
    }


def _pysim(plan: Plan) -> tuple[Raw, Reports]:
    result = simulate(plan.config, plan.weights, plan.vectors, seed=plan.seed)
    return _agreed(result.weights, result.mirrored), result.reports


def _compiled(plan: Plan) -> tuple[Raw, Reports]:
    with RtlDevice(plan.config, fault=plan.fault) as device:
        weights, reports = play(device, plan.weights, plan.vectors)
        return _agreed(weights, device.mirrored() if plan.config.updates else None), reports


def _agreed(weights: Raw, mirrored: Raw | None) -> Raw:
    """Return the weights, or those that the stream of updates told of if these differ."""
    return weights if mirrored is None or np.array_equal(mirrored, weights) else mirrored


def _cocotb(name: str, simulator: str, plan: Plan, directory: Path) -> Rung:
    """Run the bench, undisturbed and with idle sources and stalled sinks."""
    clock = time.perf_counter()
    updates = weights = reports = 0
    failure = missing = ""
    try:
        for disturbed in (False, True):
            result = runner.run(
                plan.config,
                simulator,
                idle=disturbed,
                stall=disturbed,
                seed=plan.seed,
                fault=plan.fault,
                waves=plan.waves is not None,
                bursts=plan.bursts,
                directory=directory,
            )
            updates += result.elements
            weights += result.weights
            reports += result.reports
    except runner.SimulatorMissingError as error:
        missing = str(error)
    except runner.BenchError as error:
        failure = str(error)
    seconds = time.perf_counter() - clock
    return Rung(name, updates, weights, reports, failure, missing, seconds)
