"""The configuration of an update unit, and everything that follows from it.

One frozen object is handed to the integer model, the gateware, the compiled simulator, the
driver and the benches. Its canonical JSON and the digest of that JSON are its identity: the
gateware carries the digest in read-only registers, and a driver refuses a unit whose digest is
not its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from upshift.formats import Fixed, Float, Format, parse

Holding = Literal["resident", "streamed"]
"""Where the weights are: in the unit's own memory, or outside, streamed through it."""

_ADDED = ("memory", "updates", "pipeline")
_DEFAULT_WEIGHT = Fixed(18, 16)  # block RAMs are 18 bits wide; fewer fraction bits stall sooner
_DEFAULT_GRADIENT = Fixed(16, 12)


def _integer(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {value!r}")
    return value


@dataclass(frozen=True)
class UnitConfig:
    """What one update unit is.

    Parameters
    ----------
    lanes : int
        Weights updated per clock, a power of two, 1 to 32.
    weight : Fixed
        Format of the weights, 2 to 32 bits.
    gradient : Fixed, bfloat16 or float32
        Format of the gradients; `Fixed` 2 to 32 bits.
    depth : int
        Weights held, a multiple of `lanes`, up to 2**30.
    max_rate : int
        Largest exponent k of the learning rate 2**-k, 0 to 63.
    memory : {"resident", "streamed"}
        Whether the unit holds the weights, or they stream in beside the gradients and out again.
        `depth` is then the range of addresses of the memory outside.
    updates : bool
        A resident unit also sends every row that it updates.
    pipeline : int
        Clocks from a gradient beat to the write of its weights, 4 to 9. More of them reach a
        higher clock rate.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong type or outside its range.
    """

    lanes: int = 8
    weight: Fixed = _DEFAULT_WEIGHT
    gradient: Format = _DEFAULT_GRADIENT
    depth: int = 4096
    max_rate: int = 31
    memory: Holding = "resident"
    updates: bool = False
    pipeline: int = 5

    def __post_init__(self) -> None:
        for name in ("lanes", "depth", "max_rate", "pipeline"):
            _integer(name, getattr(self, name))
        if not isinstance(self.weight, Fixed):
            raise TypeError(f"weight must be a Fixed format, not {self.weight!r}")
        if not isinstance(self.gradient, Fixed | Float):
            raise TypeError(f"gradient must be Fixed, bfloat16 or float32, not {self.gradient!r}")
        if not 1 <= self.lanes <= 32 or self.lanes & (self.lanes - 1):
            raise ValueError(f"lanes {self.lanes} is not allowed: a power of two, 1 to 32")
        for name, fmt in (("weight", self.weight), ("gradient", self.gradient)):
            if not 2 <= fmt.width <= 32:
                raise ValueError(f"{name} width {fmt.width} is not allowed: 2 to 32")
        if not 1 <= self.depth <= 2**30 or self.depth % self.lanes:
            raise ValueError(
                f"depth {self.depth} is not allowed: "
                f"a multiple of the {self.lanes} lanes, up to 2**30"
            )
        if not 0 <= self.max_rate <= 63:
            raise ValueError(f"max_rate {self.max_rate} is not allowed: 0 to 63")
        if self.memory not in get_args(Holding):
            raise ValueError(f"memory {self.memory!r} is not allowed: one of {get_args(Holding)}")
        if not isinstance(self.updates, bool):
            raise TypeError(f"updates must be a bool, not {self.updates!r}")
        if self.updates and self.memory == "streamed":
            raise ValueError("updates are for resident weights: streamed ones leave anyway")
        if not 4 <= self.pipeline <= 9:
            raise ValueError(f"pipeline {self.pipeline} is not allowed: 4 to 9")

    # -- identity ---------------------------------------------------------------------------

    def to_json(self) -> str:
        """Return the canonical JSON: sorted keys, no spaces, formats by name.

        Fields that the first release did not have are left out while they have their defaults, so
        that a unit keeps its identity.
        """
        values = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name not in _ADDED or getattr(self, f.name) != f.default
        }
        plain = {k: v if isinstance(v, int) else str(v) for k, v in values.items()}
        return json.dumps(plain, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> UnitConfig:
        """Return the configuration that `text` describes; keys left out take their defaults.

        Raises
        ------
        ValueError
            If the text is not a JSON object, or has an unknown key or an impossible value.
        """
        return cls.from_mapping(cls.read_mapping(text))

    @staticmethod
    def read_mapping(text: str) -> dict[str, Any]:
        """Return the values in a JSON object, unchecked but for a digest beside them.

        Takes the canonical form, and what `upshift generate` writes:
        ``{"configuration": {...}, "digest": "..."}``.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"configuration is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise ValueError(f"configuration must be a JSON object, not {values!r}")
        if set(values) != {"configuration", "digest"}:
            return values
        if not isinstance(values["configuration"], dict):
            raise ValueError(f"configuration must be a JSON object, not {values!r}")
        digest = UnitConfig.from_mapping(values["configuration"]).digest
        if digest != values["digest"]:
            raise ValueError(
                f"the configuration's digest is {digest}, but the file says {values['digest']}"
            )
        return dict(values["configuration"])

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> UnitConfig:
        """Return the configuration with the given values, formats by name."""
        allowed = [f.name for f in fields(cls)]
        for key in values:
            if key not in allowed:
                raise ValueError(f"unknown configuration key {key!r}: allowed are {allowed}")
        given = dict(values)
        for key in ("weight", "gradient"):
            if key in given:
                if not isinstance(given[key], str):
                    raise ValueError(
                        f"{key} must name a format such as '18.16', not {given[key]!r}"
                    )
                given[key] = parse(given[key])
        try:
            return cls(**given)
        except TypeError as error:
            raise ValueError(str(error)) from error

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, in hexadecimal."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    # -- what follows -----------------------------------------------------------------------

    @property
    def rows(self) -> int:
        """Memory rows; a row holds one weight of every lane."""
        return self.depth // self.lanes

    @property
    def max_resolution(self) -> int:
        """Largest resolution index q: the weights' fraction bits."""
        return self.weight.fraction

    @property
    def needed_range(self) -> tuple[int, int]:
        """Smallest and largest value that a report's q_min can take."""
        if isinstance(self.gradient, Fixed):
            fraction, width = self.gradient.fraction, self.gradient.width
            return fraction - (width - 1), self.max_rate + fraction
        # L is floor(log2 2|g|), less 1 for negative powers of two.
        bias, mantissa = self.gradient.BIAS, self.gradient.mantissa
        smallest, largest = 1 - bias - mantissa, bias
        return -(largest + 1), self.max_rate - smallest

    def beats(self, base: int, count: int) -> int:
        """Return the beats of a burst: ``ceil((base mod lanes + count) / lanes)``."""
        return -(-(base % self.lanes + count) // self.lanes)
