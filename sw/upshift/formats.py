"""Number formats: what a raw integer stands for, and how a value becomes one.

A format owns its rounding and its overflow, so that two places that name the same format
cannot disagree about either. `Fixed` rounds half up (ties towards plus infinity) and
saturates; `bfloat16` and `float32` round to nearest even and overflow to infinity, as IEEE 754
does. Everything here is exact: no step of an encoding rounds twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Raw: TypeAlias = NDArray[np.int64]
Values: TypeAlias = NDArray[np.float64]


def _as_numbers(values: ArrayLike) -> NDArray[Any]:
    """Return `values` as an array of integers or of floats no wider than float64."""
    array = np.asarray(values)
    if array.dtype.kind in "iu" or (array.dtype.kind == "f" and array.dtype.itemsize <= 8):
        return array
    raise TypeError(
        f"values of dtype {array.dtype} cannot be encoded: "
        "allowed are integers and float16, float32 or float64"
    )


def _as_raw(raw: ArrayLike, low: int, high: int, name: str) -> Raw:
    """Return `raw` as int64, refusing other dtypes and anything outside [low, high]."""
    array = np.asarray(raw)
    if array.dtype.kind not in "iu":
        raise TypeError(f"raw words must be integers, not {array.dtype}")
    if array.size and (int(array.min()) < low or int(array.max()) > high):
        outside = array[(array < low) | (array > high)].flat[0]
        raise ValueError(f"raw word {outside} is not a {name}: allowed are {low} to {high}")
    return array.astype(np.int64)


def _refuse_nan(array: NDArray[Any], name: str) -> None:
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError(f"NaN has no {name} encoding")


def round_half_up(x: Values) -> Values:
    """Return floor(x + 1/2), element-wise and exact; NaN for infinities.

    Parameters
    ----------
    x : ndarray of float64, any shape
    """
    # The sum x + 1/2 would be rounded for the x just below one half.
    floor = np.floor(x)
    return np.asarray(floor + (x - floor >= 0.5))


@dataclass(frozen=True)
class Fixed:
    """Signed two's complement fixed point: raw integer R stands for ``R * 2**-fraction``.

    Encoding rounds half up, ``floor(value * 2**fraction + 1/2)``, and saturates.

    Parameters
    ----------
    width : int
        Bits, sign included, 2 to 64.
    fraction : int
        Bits behind the point, 0 to `width`.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not an integer or lies outside its range.
    """

    width: int
    fraction: int

    def __post_init__(self) -> None:
        for name in ("width", "fraction"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be an int, not {value!r}")
        if not 2 <= self.width <= 64:
            raise ValueError(f"width {self.width} is not allowed: 2 to 64")
        if not 0 <= self.fraction <= self.width:
            raise ValueError(
                f"fraction {self.fraction} is not allowed: 0 to the width, {self.width}"
            )

    def __str__(self) -> str:
        return f"{self.width}.{self.fraction}"

    @property
    def min(self) -> int:
        """Smallest raw integer."""
        return -(1 << (self.width - 1))

    @property
    def max(self) -> int:
        """Largest raw integer."""
        return (1 << (self.width - 1)) - 1

    def encode(self, values: ArrayLike) -> Raw:
        """Round and saturate `values` to raw integers.

        Parameters
        ----------
        values : array_like of int, float16, float32 or float64, any shape
            Infinities saturate.

        Returns
        -------
        ndarray of int64
            Raw integers, `min` to `max`, in the shape of `values`.

        Raises
        ------
        TypeError
            If the dtype is not one of the above.
        ValueError
            If a value is NaN.
        """
        return self.encode_counted(values)[0]

    def encode_counted(self, values: ArrayLike) -> tuple[Raw, int]:
        """Like `encode`; also return how many values did not fit and were saturated."""
        array = _as_numbers(values)
        _refuse_nan(array, f"Fixed({self.width}, {self.fraction})")
        if array.dtype.kind in "iu":
            # Compare before shifting: the shift itself may not fit an int64.
            above = array > (self.max >> self.fraction)
            below = array < -(-self.min >> self.fraction)
            inside = np.where(above | below, 0, array).astype(np.int64)
            raw = inside << min(self.fraction, 63)
        else:
            with np.errstate(over="ignore"):
                scaled = array.astype(np.float64) * 2.0**self.fraction
            # An infinity has no fraction to look at and saturates below.
            with np.errstate(invalid="ignore"):
                rounded = round_half_up(scaled)
            above = rounded >= 2.0 ** (self.width - 1)
            below = rounded < -(2.0 ** (self.width - 1))
            raw = np.where(above | below, 0, rounded).astype(np.int64)
        raw = np.where(above, self.max, np.where(below, self.min, raw))
        return np.asarray(raw, np.int64), int(np.count_nonzero(above | below))

    def decode(self, raw: ArrayLike) -> Values:
        """Return the values that raw integers stand for.

        Parameters
        ----------
        raw : array_like of int, any shape
            `min` to `max`.

        Returns
        -------
        ndarray of float64

        Raises
        ------
        TypeError
            If `raw` is not of an integer dtype.
        ValueError
            If a word lies outside the format, or stands for a value that float64 cannot hold.
        """
        words = self.check(raw)
        values = words.astype(np.float64)
        if self.width > 54:
            magnitude = np.abs(words).astype(np.uint64)  # also right for the most negative word
            inexact = np.abs(values).astype(np.uint64) != magnitude
            if inexact.any():
                raise ValueError(
                    f"raw word {words[inexact].flat[0]} has more than 53 significant bits: "
                    "float64 cannot hold its value"
                )
        return np.asarray(values * 2.0**-self.fraction)

    def check(self, raw: ArrayLike) -> Raw:
        """Return `raw` as int64 if every word belongs to the format, raise otherwise."""
        return _as_raw(raw, self.min, self.max, f"Fixed({self.width}, {self.fraction})")


@dataclass(frozen=True)
class Float:
    """IEEE 754 binary format with the exponent range of float32.

    A raw word is the non-negative bit pattern: sign, 8 exponent bits, `mantissa` bits.
    Encoding rounds to nearest even and overflows to infinity.

    Use the instances `bfloat16` and `float32`.
    """

    name: str
    mantissa: int

    EXPONENT_BITS = 8
    BIAS = 127

    def __str__(self) -> str:
        return self.name

    @property
    def width(self) -> int:
        """Bits of a raw word."""
        return 1 + self.EXPONENT_BITS + self.mantissa

    @property
    def sign(self) -> int:
        """The sign bit, which is negative zero as well."""
        return 1 << (self.width - 1)

    @property
    def normal(self) -> int:
        """Bit pattern of the smallest positive number that is not subnormal."""
        return 1 << self.mantissa

    @property
    def infinity(self) -> int:
        """Bit pattern of infinity: one more than the largest number's, one less than a NaN's."""
        return ((1 << self.EXPONENT_BITS) - 1) << self.mantissa

    def encode(self, values: ArrayLike) -> Raw:
        """Round `values` to bit patterns.

        Parameters
        ----------
        values : array_like of int, float16, float32 or float64, any shape
            Infinities stay infinities. Integers up to 2**53 in magnitude.

        Returns
        -------
        ndarray of int64
            Bit patterns, 0 to ``2**width - 1``, in the shape of `values`.

        Raises
        ------
        TypeError
            If the dtype is not one of the above.
        ValueError
            If a value is NaN, or an integer that float64 cannot hold for certain.
        """
        return self.encode_counted(values)[0]

    def encode_counted(self, values: ArrayLike) -> tuple[Raw, int]:
        """Like `encode`; also return how many finite values overflowed to infinity."""
        array = _as_numbers(values)
        _refuse_nan(array, self.name)
        integers = array.dtype.kind in "iu" and array.size > 0
        if integers and max(int(array.max()), -int(array.min())) > 2**53:
            raise ValueError(
                f"integers above 2**53 in magnitude cannot be encoded as {self.name}: "
                f"got {array.min()} to {array.max()}"
            )
        exact = array.astype(np.float64)
        with np.errstate(over="ignore", under="ignore"):
            single = exact.astype(np.float32)
        bits = single.view(np.uint32).astype(np.int64)
        dropped = 23 - self.mantissa
        if dropped:
            # Round to odd first (towards zero, lowest bit set when inexact): rounding that to
            # nearest even gives what one rounding of the exact value gives.
            wide = single.astype(np.float64)
            bits = bits - (np.abs(wide) > np.abs(exact))
            bits = bits | (wide != exact)
            bits = (bits + (1 << (dropped - 1)) - 1 + ((bits >> dropped) & 1)) >> dropped
        infinite = (bits >> self.mantissa) & 0xFF == 0xFF
        return np.asarray(bits), int(np.count_nonzero(infinite & np.isfinite(exact)))

    def decode(self, raw: ArrayLike) -> Values:
        """Return the values, infinities and NaNs that bit patterns stand for, as float64.

        Raises
        ------
        TypeError
            If `raw` is not of an integer dtype.
        ValueError
            If a word is negative or wider than the format.
        """
        bits = (self.check(raw) << (23 - self.mantissa)).astype(np.uint32)
        with np.errstate(invalid="ignore"):  # a signalling NaN turns quiet
            return np.asarray(bits.view(np.float32).astype(np.float64))

    def check(self, raw: ArrayLike) -> Raw:
        """Return `raw` as int64 if every word belongs to the format, raise otherwise."""
        return _as_raw(raw, 0, (1 << self.width) - 1, f"{self.name} bit pattern")


bfloat16 = Float("bfloat16", 7)
float32 = Float("float32", 23)

Format: TypeAlias = Fixed | Float


def parse(text: str) -> Format:
    """Return the format that `text` names: ``"18.16"``, ``"bfloat16"`` or ``"float32"``.

    Raises
    ------
    ValueError
        If the text names no format.
    """
    for named in (bfloat16, float32):
        if text == named.name:
            return named
    width, dot, fraction = text.partition(".")
    if dot and width.isascii() and fraction.isascii() and width.isdigit() and fraction.isdigit():
        return Fixed(int(width), int(fraction))
    raise ValueError(
        f"{text!r} names no format: allowed are WIDTH.FRACTION (such as 18.16), bfloat16, float32"
    )
