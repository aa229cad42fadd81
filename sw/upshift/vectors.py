"""Test vectors: commands with their gradients, named corners first, and what must come of them.

The same vectors go to every rung of the verification ladder, and `upshift generate` writes them
as hexadecimal files for simulators that know no Python.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from upshift import layout
from upshift.config import UnitConfig
from upshift.formats import Fixed, Float, Raw
from upshift.layout import Operation
from upshift.reference import Command, Unit


@dataclass(frozen=True)
class Vector:
    """One command, with ``command.count`` raw gradients behind it."""

    command: Command
    gradients: Raw

    def __post_init__(self) -> None:
        command = self.command
        if command.operation == Operation.UPDATE and self.gradients.size != command.count:
            raise ValueError(f"{command} comes with {self.gradients.size} gradients")


def update(base: int, gradients: Iterable[int], *, rate: int, resolution: int) -> Vector:
    """Return an update command with its gradients."""
    words = np.array(list(gradients), np.int64)
    return Vector(Command(Operation.UPDATE, base, words.size, rate, resolution), words)


def beats(config: UnitConfig, vector: Vector) -> Iterator[Raw]:
    """Yield the gradient beats of a vector, lane-aligned; lanes outside the burst are zero.

    A refused burst has its beats too: the unit takes and drops them.
    """
    command = vector.command
    if command.operation != Operation.UPDATE or not command.count:
        return
    padded = np.zeros(config.beats(command.base, command.count) * config.lanes, np.int64)
    offset = command.base % config.lanes
    padded[offset : offset + command.count] = vector.gradients
    yield from padded.reshape(-1, config.lanes)


def initial_weights(config: UnitConfig, seed: int) -> Raw:
    """Return random raw weights; the first two are the largest and the smallest."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(config.weight.min, config.weight.max, config.depth, endpoint=True)
    weights[:2] = (config.weight.max, config.weight.min)[: config.depth]
    return weights


def expect(
    config: UnitConfig, weights: Raw, vectors: Iterable[Vector]
) -> tuple[Raw, list[dict[str, int]]]:
    """Return the weights and reports that the integer model gives.

    Parameters
    ----------
    config : UnitConfig
    weights : ndarray of int64, shape (depth,)
    vectors : iterable of Vector

    Returns
    -------
    weights : ndarray of int64, shape (depth,)
    reports : list of dict
        Report fields, one per command.
    """
    unit = Unit(config)
    unit.weights[:] = weights
    reports = [unit.execute(vector.command, vector.gradients) for vector in vectors]
    return unit.weights, reports


def ends(config: UnitConfig) -> tuple[int, int]:
    """Return the raw words of the smallest and the largest finite gradient."""
    if isinstance(config.gradient, Fixed):
        return config.gradient.min, config.gradient.max
    largest = config.gradient.infinity - 1
    return config.gradient.sign | largest, largest


def tie(config: UnitConfig, *, negative: bool) -> tuple[int, int, int] | None:
    """Return (raw gradient, rate, resolution) whose step is exactly one half, if there is one."""
    if isinstance(config.gradient, Float):
        finest = config.max_resolution
        half = (-1 if negative else 1) * 2.0 ** -(finest + 1)
        return int(config.gradient.encode(half)), 0, finest
    largest = config.gradient.width - (1 if negative else 2)
    for rate in range(config.max_rate + 1):
        for resolution in range(config.max_resolution, -1, -1):
            power = rate + config.gradient.fraction - resolution - 1
            if 0 <= power <= largest:
                return (-1 if negative else 1) << power, rate, resolution
    return None


def corners(config: UnitConfig) -> dict[str, list[Vector]]:
    """Return the named corner cases that `config` can reach, in an order that can be replayed.

    Parameters
    ----------
    config : UnitConfig

    Returns
    -------
    dict
        Vectors by the name of the corner. The floor is raised last.
    """
    low, high = ends(config)
    finest = config.max_resolution
    lanes, depth = config.lanes, config.depth
    cases: dict[str, list[Vector]] = {}

    ties = [found for negative in (False, True) if (found := tie(config, negative=negative))]
    if ties:
        cases["ties"] = [update(0, [g], rate=k, resolution=q) for g, k, q in ties]
    cases["saturation"] = [
        update(0, [low, high][:depth], rate=0, resolution=finest) for _ in range(2)
    ]
    cases["all zero"] = [update(0, [0] * min(depth, 2 * lanes), rate=0, resolution=finest)]
    cases["most negative"] = [
        update(depth - 1, [low], rate=rate, resolution=resolution)
        for rate in (0, config.max_rate)
        for resolution in (0, finest)
    ]
    cases["single element"] = [
        update(address, [high], rate=0, resolution=finest) for address in range(min(depth, lanes))
    ]
    cases["back to back"] = [
        update(0, [word], rate=rate, resolution=resolution)
        for word, rate, resolution in 3
        * ((high, 0, finest), (low, config.max_rate, max(finest - 1, 0)))
    ]
    if depth >= 3 * lanes:
        ramp = _ramp(config)
        for offset in {1 % lanes, lanes - 1}:
            cases[f"unaligned by {offset}"] = [
                update(offset, ramp[:count], rate=1 % (config.max_rate + 1), resolution=finest)
                for count in {1, lanes, lanes + 1, 2 * lanes}
                if offset + count <= depth
            ]
    if lanes > 1:
        cases["neighbours share a beat"] = [
            update(0, [high] * (lanes // 2), rate=0, resolution=finest),
            update(lanes // 2, [low] * (lanes // 2), rate=0, resolution=finest),
        ]
    if isinstance(config.gradient, Float):
        cases |= _float_corners(config, config.gradient)
    cases["refused"] = [
        Vector(command, np.full(command.count, high)) for command in _refused(config)
    ]
    return cases


def _ramp(config: UnitConfig) -> list[int]:
    """Return raw gradients for three beats, no two of them neighbours and equal."""
    count = 3 * config.lanes
    if isinstance(config.gradient, Float):
        return [int(word) for word in config.gradient.encode(np.linspace(-1, 1, count))]
    high = config.gradient.max
    return [(n * (high // (2 * config.lanes) or 1)) % high for n in range(count)]


def _float_corners(config: UnitConfig, fmt: Float) -> dict[str, list[Vector]]:
    """Return the corners that only floating-point gradients have."""
    infinity, normal, quiet = fmt.infinity, fmt.normal, fmt.normal >> 1
    one = int(fmt.encode(1.0))
    finest, weight = config.max_resolution, config.weight
    half = int(fmt.encode(2.0 ** -(finest + 1)))
    powers = range(-weight.fraction - 3, weight.width - weight.fraction + 2)
    words = {
        "signed zeros": [0],
        "subnormals": [1, normal - 1],
        "smallest normal": [normal],
        "infinities and NaN": [infinity, infinity + 1, infinity + quiet, infinity + normal - 1],
        "finite beside infinite": [infinity, one, infinity + quiet, half],
        "largest": [infinity - 1],
        "powers of two": [int(word) for word in fmt.encode([2.0**power for power in powers])],
        "close to ties": [half - 1, half, half + 1],
    }
    settings = [(k, q) for k in sorted({0, config.max_rate}) for q in sorted({0, finest})]
    cases = {}
    for name, some in words.items():
        both = [sign | word for sign in (0, fmt.sign) for word in some]
        cases[name] = [
            update(0, both[start : start + config.depth], rate=rate, resolution=resolution)
            for rate, resolution in settings
            for start in range(0, len(both), config.depth)
        ]
    return cases


def _refused(config: UnitConfig) -> list[Command]:
    """Return commands that a unit refuses, one cause each, then a raise and what it forbids."""
    finest, depth = config.max_resolution, config.depth
    rate = next(field for field in layout.command(config) if field.name == "rate")
    commands = [
        Command(Operation.UPDATE, 0, 1, 0, finest + 1),
        Command(Operation.UPDATE, 0, 0, 0, finest),
        Command(Operation.UPDATE, min(1, depth - 1), 0, 0, finest),
        Command(Operation.UPDATE, max(depth - 1, 1), min(depth, 2), 0, finest),
        Command(Operation.UPDATE, depth, 1, 0, finest),
        Command(Operation.RAISE, resolution=finest + 1),
    ]
    if config.max_rate + 1 < 1 << rate.width:
        commands.append(Command(Operation.UPDATE, 0, 1, config.max_rate + 1, finest))
    if finest:
        commands += [
            Command(Operation.RAISE, resolution=1),
            Command(Operation.UPDATE, 0, 1, 0, 0),
            Command(Operation.RAISE, resolution=0),
        ]
    return commands


def near_steps(config: UnitConfig, words: Raw, *, rate: int, resolution: int) -> Raw:
    """Return floating-point gradients whose steps are near one, or near the weights' range.

    Parameters
    ----------
    config : UnitConfig
        With a floating-point gradient format.
    words : ndarray of int64
        Any bit patterns; only their exponents change.
    rate, resolution : int
        What the gradients will be sent with.
    """
    fmt = config.gradient
    assert isinstance(fmt, Float)
    exponents = (words & fmt.infinity) >> fmt.mantissa
    lowest = fmt.BIAS + rate - resolution - 3
    span = config.weight.width - config.weight.fraction + resolution + 5
    return words + ((lowest + exponents % span - exponents) << fmt.mantissa)


def random_vectors(config: UnitConfig, count: int, seed: int, longest: int = 64) -> list[Vector]:
    """Return random updates: any base, length, rate and resolution, gradients of all sizes."""
    rng = np.random.default_rng(seed)
    vectors = []
    for _ in range(count):
        base = int(rng.integers(config.depth))
        size = int(rng.integers(1, min(longest, config.depth - base), endpoint=True))
        words = rng.integers(0, 1 << config.gradient.width, size)
        if isinstance(config.gradient, Fixed):
            words += config.gradient.min
            words >>= int(rng.integers(config.gradient.width))
        rate = int(rng.integers(min(config.max_rate, config.gradient.width), endpoint=True))
        resolution = int(rng.integers(config.max_resolution, endpoint=True))
        if isinstance(config.gradient, Float) and rng.integers(4):
            words = near_steps(config, words, rate=rate, resolution=resolution)
        vectors.append(Vector(Command(Operation.UPDATE, base, size, rate, resolution), words))
    return vectors


def standard(config: UnitConfig, count: int, seed: int) -> list[Vector]:
    """Return `count` random updates followed by all corners."""
    named = [vector for case in corners(config).values() for vector in case]
    return random_vectors(config, count, seed) + named
