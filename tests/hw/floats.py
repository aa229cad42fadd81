"""Bit patterns of floating-point gradients, and what they stand for, as exact rationals."""

from fractions import Fraction


def value(word, fmt):
    """Return the number that a bit pattern stands for; None if it is not finite."""
    sign, exponent = word >> (fmt.width - 1), word >> fmt.mantissa & 0xFF
    mantissa = word & ((1 << fmt.mantissa) - 1)
    if exponent == 0xFF:
        return None
    leading = (1 << fmt.mantissa) if exponent else 0
    scale = max(exponent, 1) - 127 - fmt.mantissa
    return (-1) ** sign * (leading + mantissa) * Fraction(2) ** scale


def corners(fmt):
    """Return the patterns where something begins or ends, of both signs.

    Every exponent with the shortest and longest mantissas: zeros, all powers of two, the smallest
    and largest subnormals and numbers, infinities, quiet and signalling NaN.
    """
    ones = (1 << fmt.mantissa) - 1
    ends = {0, 1, 2, 3, ones >> 1, (ones >> 1) + 1, ones - 1, ones}
    return [
        sign << (fmt.width - 1) | exponent << fmt.mantissa | mantissa
        for sign in (0, 1)
        for exponent in range(256)
        for mantissa in sorted(ends)
    ]
