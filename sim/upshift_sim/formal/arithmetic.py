"""Claims about what calculates, each against the equation.

All of it is pipelines: whatever their registers hold at first, after `latency` clocks the
outputs follow from the inputs alone.
"""

from __future__ import annotations

from functools import reduce
from operator import add, or_
from typing import Any

from amaranth.hdl import Mux, Signal, signed

from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift_hw.align import align as alignment
from upshift_hw.datapath import Datapath
from upshift_hw.lane import Lane
from upshift_hw.needed import needed_resolution
from upshift_hw.subtract import RoundedSubtraction
from upshift_sim.formal.claims import Claims
from upshift_sim.formal.equation import aligned, clamp, finite, moves, named, rounded, step


def align(config: UnitConfig, stages: int = 1) -> Claims:
    """Claim that alignment is exact but for saturation, and zero for what is not a number."""
    claims = Claims()
    unit = alignment(config, stages)
    claims.add("unit", unit)
    claims.clocks = unit.latency
    word = claims.drive("gradient", unit.gradient)
    rate = claims.drive("rate", unit.rate)
    claims.assume("rate is allowed", rate <= config.max_rate)
    usable = named(claims, finite(config, word), "usable")
    expected = named(claims, Mux(usable, aligned(claims, config, word, rate), 0), "expected")
    claims.claim("steps", unit.steps == claims.past(expected, unit.latency))
    if not isinstance(config.gradient, Fixed):
        claims.claim("nonfinite", unit.nonfinite == ~claims.past(usable, unit.latency))
    claims.cover("something", unit.steps != 0)
    return claims


def lane(config: UnitConfig) -> Claims:
    """Claim that a lane rounds, subtracts, clamps and says so, for every aligned step."""
    fmt = config.weight
    claims = Claims()
    unit = Lane(config)
    claims.add("unit", unit)
    claims.clocks = max(unit.latency, unit.changed)
    steps = claims.drive("steps", unit.steps)
    weight = claims.free(signed(fmt.width), "weight")
    inside = claims.free(1, "inside")
    shift = claims.free(range(fmt.fraction + 2), "shift")  # F-q
    claims.assume("resolution is allowed", shift <= fmt.fraction)
    claims.m.d.comb += [
        unit.half.eq(1 << shift),
        unit.high.eq(claims.past(named(claims, -(2 << shift), "high"), unit.high_delay)),
        unit.weight.eq(claims.past(weight, unit.weight_delay)),
        unit.touched.eq(claims.past(inside, unit.touched_delay)),
    ]
    distance = rounded(steps, shift)
    exact = named(claims, weight - distance, "exact")
    expected = clamp(exact, fmt.min, fmt.max)
    for name, port, value, clocks in (
        ("new weight", unit.new_weight, expected, unit.latency),
        ("nonzero", unit.nonzero, inside & (distance != 0), unit.changed),
        ("saturated", unit.saturated, inside & (expected != exact), unit.changed),
    ):
        claims.claim(name, port == claims.past(named(claims, value, "expected"), clocks))
    claims.cover("clamped", unit.saturated)
    counts = named(claims, inside & (steps != 0), "counts")
    claims.cover("rounded to zero", ~unit.nonzero & claims.past(counts, unit.changed))
    return claims


def subtraction(config: UnitConfig) -> Claims:
    """Claim that the subtraction made of carry cells is the one that is described."""
    claims = Claims()
    claims.clocks = 1
    described, placed = (RoundedSubtraction(config, carry) for carry in ("described", "ccu2c"))
    claims.add("described", described)
    claims.add("placed", placed)
    for name in ("steps", "half_bit", "weight"):
        claims.drive(name, getattr(described, name))
    shift = claims.free(range(config.weight.fraction + 2), "shift")  # F-q
    claims.assume("resolution is allowed", shift <= config.weight.fraction)
    claims.m.d.comb += [
        described.high.eq(-(2 << shift)),
        placed.high.eq(described.high),
        placed.steps.eq(described.steps),
        placed.half_bit.eq(described.half_bit),
        placed.weight.eq(described.weight),
    ]
    claims.claim("difference", placed.difference == described.difference)
    claims.cover("negative", placed.difference < 0)
    return claims


def saturation(config: UnitConfig) -> Claims:
    """Claim that saturating the aligned step to B+2 bits changes nothing that follows.

    No gateware is in this one: it is about the equation. Steps that are wider still clamp the
    weight like the widest one here.
    """
    fmt = config.weight
    claims = Claims()
    steps = claims.free(signed(fmt.width + 8), "steps")
    weight = claims.free(signed(fmt.width), "weight")
    shift = claims.free(range(fmt.fraction + 2), "shift")  # F-q
    claims.assume("resolution is allowed", shift <= fmt.fraction)
    limit = 1 << (fmt.width + 1)
    outcomes = []
    for name, value in (("exact", steps), ("saturated", clamp(steps, -limit, limit - 1))):
        distance = named(claims, rounded(value, shift), f"{name}_distance")
        moved = named(claims, weight - distance, name)
        new = clamp(moved, fmt.min, fmt.max)
        outcomes.append((new, distance != 0, moved != new))
    for name, one, other in zip(("new weight", "nonzero", "clamped"), *outcomes, strict=True):
        claims.claim(name, one == other)
    claims.cover("saturates", (steps >= limit) & outcomes[0][2])
    return claims


def _datapath(config: UnitConfig) -> tuple[Claims, Any, dict[str, Any]]:
    """Return a datapath with free inputs, and what is in it."""
    claims = Claims()
    unit = Datapath(config)
    parts = claims.add("unit", unit)
    for name in ("valid", "beat", "gradients", "rate", "resolution", "started", "weights"):
        claims.drive(name, getattr(unit, name))
    claims.drive("report_ready", unit.o_report.ready)
    claims.assume("rate is allowed", unit.rate <= config.max_rate)
    claims.assume("resolution is allowed", unit.resolution <= config.weight.fraction)
    return claims, unit, parts


def element(config: UnitConfig) -> Claims:
    """Claim that the datapath takes weights to where the equation does, all in one."""
    fmt = config.weight
    claims, unit, parts = _datapath(config)
    late = parts["lane0"].changed - parts["lane0"].latency
    claims.clocks = unit.latency + late
    shift = Signal(range(fmt.fraction + 2))
    claims.m.d.comb += shift.eq(fmt.fraction - unit.resolution)
    started = claims.past(unit.valid, unit.latency)
    counted = claims.past(started, late)
    mask = claims.past(unit.beat.mask, unit.latency)
    claims.claim("row", unit.write_row == claims.past(unit.beat.row, unit.latency))
    claims.claim("last", unit.write_last == claims.past(unit.beat.last, unit.latency))
    claims.claim("mask", unit.write_mask == Mux(started, mask, 0))
    for j in range(config.lanes):
        word = unit.gradients[j]
        # What lies outside the burst is not changed, and neither is it counted.
        counts = unit.beat.mask[j] & finite(config, word)
        if isinstance(config.gradient, Fixed):
            distance = step(config, word, unit.rate, unit.resolution) << shift
        else:
            # A float's exact step has hundreds of bits; `saturation` says that these will do.
            distance = rounded(aligned(claims, config, word, unit.rate), shift)
        distance = Mux(counts, distance, 0)
        distance = claims.past(named(claims, distance, "distance"), unit.latency)
        old = claims.past(unit.weights[j], unit.latency - unit.weights_stage)
        exact = named(claims, old - distance, "exact")
        expected = clamp(exact, fmt.min, fmt.max)
        claims.claim(f"new weight {j}", ~started | (unit.new_weights[j] == expected))
        lane = parts[f"lane{j}"]
        changes, clamps = (
            claims.past(named(claims, value, name), late)
            for name, value in (("changes", distance != 0), ("clamps", exact != expected))
        )
        claims.claim(f"nonzero {j}", ~counted | (lane.nonzero == changes))
        claims.claim(f"saturated {j}", ~counted | (lane.saturated == clamps))
        new = claims.past(unit.new_weights[j], late)
        claims.cover(f"to the lowest {j}", lane.saturated & (new == fmt.min))
        claims.cover(f"to the highest {j}", lane.saturated & (new == fmt.max))
    return claims


def needed(config: UnitConfig) -> Claims:
    """Claim that q_min is where steps begin to be something, by trying any q."""
    claims, unit, parts = _datapath(config)
    found = parts["needed_resolution"]
    claims.clocks = latency = 1 + found.latency  # the datapath holds gradients for a clock first
    low, high = config.needed_range
    trial = claims.free(range(high - low + 3), "trial")
    less = 1 - low  # so that q goes from one below the smallest q_min to one above the largest
    inside = [
        (word, unit.beat.mask[j] & finite(config, word)) for j, word in enumerate(unit.gradients)
    ]
    moved = [here & moves(config, word, unit.rate, trial, less=less) for word, here in inside]
    # Both zeros of a float are zero.
    bits = config.gradient.width - (not isinstance(config.gradient, Fixed))
    some = [here & word[:bits].any() for word, here in inside]
    moving, anything = (
        claims.past(named(claims, reduce(or_, values), "expected"), latency)
        for values in (moved, some)
    )
    claims.claim("valid", found.valid == anything)
    claims.claim(
        "needed", ~found.valid | (moving == (claims.past(trial, latency) >= found.needed + less))
    )
    claims.claim("zero", found.valid | (found.needed == 0))
    claims.cover("lowest", found.valid & (found.needed == low))
    claims.cover("highest", found.valid & (found.needed == high))
    return claims


def least(config: UnitConfig) -> Claims:
    """Claim that q_min of several lanes is the least that any of them has alone."""
    claims = Claims()
    unit = needed_resolution(config)
    claims.add("unit", unit)
    claims.clocks = unit.latency
    for name in ("gradients", "mask", "rate"):
        claims.drive(name, getattr(unit, name))
    one = UnitConfig(**{**vars(config), "lanes": 1})
    found = []
    for j in range(config.lanes):
        alone = needed_resolution(one)
        claims.add(f"alone{j}", alone)
        claims.m.d.comb += [
            alone.gradients[0].eq(unit.gradients[j]),
            alone.mask.eq(unit.mask[j]),
            alone.rate.eq(unit.rate),
        ]
        late = unit.latency - alone.latency
        found.append((claims.past(alone.valid, late), claims.past(alone.needed, late)))
    below = [valid & (value <= unit.needed) for valid, value in found]
    above = [valid & (value < unit.needed) for valid, value in found]
    claims.claim("valid", unit.valid == reduce(or_, [valid for valid, _ in found]))
    claims.claim("some lane needs it", ~unit.valid | reduce(or_, below))
    claims.claim("no lane needs less", ~unit.valid | ~reduce(or_, above))
    claims.cover("all lanes", reduce(add, [valid for valid, _ in found]) == config.lanes)
    return claims
