"""The specification for proofs: section by section what a unit must compute, in wide integers.

Written from the equation, not from the gateware: nothing is saturated or rounded on the way, and
every intermediate number has all its bits. A float is the integer it encodes in units of its
smallest subnormal, so that fixed and float gradients are the same from there on.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Mux, Signal

from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift_sim.formal.claims import Claims


def named(claims: Claims, value: Any, name: str) -> Any:
    """Return `value` as a signal of its own; the equation is easier to read in a waveform."""
    signal = Signal.like(value, name=name)
    claims.m.d.comb += signal.eq(value)
    return signal


def fraction_bits(config: UnitConfig) -> int:
    """Return the fraction bits of what `integer` returns."""
    fmt = config.gradient
    return fmt.fraction if isinstance(fmt, Fixed) else fmt.BIAS + fmt.mantissa - 1


def integer(config: UnitConfig, word: Any, power: Any = 0) -> Any:
    """Return a finite gradient g as an integer: g * 2**(power + its fraction bits), exactly."""
    fmt = config.gradient
    if isinstance(fmt, Fixed):
        return word << power
    exponent = word[fmt.mantissa : -1]
    magnitude = Cat(word[: fmt.mantissa], exponent.any())
    # A single shift, since solvers find it hard to see that two are as good as one.
    places = (exponent - exponent.any())[: len(exponent)] + power
    return Mux(word[-1], -magnitude, magnitude) << places


def finite(config: UnitConfig, word: Any) -> Any:
    """Return whether a gradient is a number."""
    fmt = config.gradient
    return Const(1) if isinstance(fmt, Fixed) else ~word[fmt.mantissa : -1].all()


def aligned(claims: Claims, config: UnitConfig, word: Any, rate: Any) -> Any:
    """Return floor(2**(F+1-k) g), saturated to the B+2 bits that a lane takes."""
    exact = (integer(config, word) << (config.weight.fraction + 1)) >> rate
    exact = named(claims, exact >> fraction_bits(config), "exact_steps")
    limit = 1 << (config.weight.width + 1)
    return named(claims, clamp(exact, -limit, limit - 1), "expected_steps")


def step(config: UnitConfig, word: Any, rate: Any, resolution: Any) -> Any:
    """Return D = floor(2**(q-k) g + 1/2)."""
    below = fraction_bits(config)
    half = (Const(1) << rate) << below  # in units of 2**-(k+below+1)
    return (((integer(config, word, resolution) << 1) + half) >> rate) >> (below + 1)


def moves(config: UnitConfig, word: Any, rate: Any, resolution: Any, *, less: int) -> Any:
    """Return whether D is not zero, where q is `resolution` - `less`.

    floor(x + 1/2) is zero for x from -1/2 up to, but not including, 1/2: so D is something when
    2**(q+1) g reaches 2**k, or falls below -2**k.
    """
    distance = integer(config, word, resolution) << 1
    one = (Const(1) << rate) << (fraction_bits(config) + less)
    return (distance >= one) | (distance < -one)


def rounded(steps: Any, shift: Any) -> Any:
    """Return D 2**(F-q) of an aligned step floor(2**(F+1-k) g), where `shift` is F-q.

    What the floor of the alignment took away lies below the half that is added.
    """
    return ((steps + (1 << shift)) >> shift >> 1) << shift


def clamp(value: Any, low: int, high: int) -> Any:
    """Return the number in [low, high] that is nearest to `value`."""
    return Mux(value > high, high, Mux(value < low, low, value))
