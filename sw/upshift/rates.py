"""Learning rates that a shift can apply: lambda = 2**-k with an integer k >= 0."""

from __future__ import annotations

import math


def exponent(rate: float) -> int | None:
    """Return k when `rate` is exactly ``2**-k`` with k >= 0, else None."""
    if not 0.0 < rate <= 1.0:
        return None
    mantissa, power = math.frexp(rate)
    return 1 - power if mantissa == 0.5 else None


def device_exponent(rate: float, max_rate: int, where: str) -> int:
    """Return k for a device, which shifts and cannot multiply.

    Parameters
    ----------
    rate : float
        The learning rate.
    max_rate : int
        Largest exponent the device takes.
    where : str
        What to call the owner of the rate in the message, such as ``"parameter group 0"``.

    Raises
    ------
    ValueError
        If `rate` is not 2**0 to 2**-max_rate. The message names the nearest allowed rates.
    """
    k = exponent(rate)
    if k is not None and k <= max_rate:
        return k
    message = f"{where}: a device cannot apply learning rate {rate!r}: "
    below = math.frexp(rate)[1] - 1
    if not 0.0 < rate < 1.0 or below < -max_rate:
        raise ValueError(message + f"allowed are powers of two from 2**-{max_rate} to 1")
    raise ValueError(
        message
        + f"it is not a power of two; the nearest are {2.0**below!r} (2**{below}) "
        + f"and {2.0 ** (below + 1)!r} (2**{below + 1})"
    )
