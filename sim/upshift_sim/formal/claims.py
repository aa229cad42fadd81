"""What a proof is about: a circuit whose outputs say what is assumed, claimed and to be reached.

A proof is written in Amaranth around the component that it is about. Everything the component
does not decide is a free input; what is claimed of it is an output that must never be low. The
circuit is ordinary gateware, so it means in a proof what it means in a simulator.
"""

from __future__ import annotations

from fnmatch import fnmatch
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import Fragment, Instance, Module, Signal, Value
from amaranth.lib.wiring import Out

ASSUME, CLAIM, COVER, CONSTANT = "assume_", "claim_", "cover_", "constant_"
"""How the ports of a proof begin, by what they are for."""
TOP, RESET = "proof", "rst"


class Claims:
    """A circuit under construction, and what is said of it.

    Attributes
    ----------
    m : Module
        Holds the component, and whatever says what it should do.
    clocks : int
        The last clock that a proof looks at, counted from 0; of an induction, the clocks of its
        hypothesis. Follows from the component.
    """

    def __init__(self) -> None:
        self.m = Module()
        self.clocks = 0
        self._ports: list[Any] = []

    def add(self, name: str, component: Any, *, cut: tuple[str, ...] = ()) -> dict[str, Any]:
        """Put a component into the circuit and return all components in it, by path.

        Parameters
        ----------
        name : str
        component : Component
        cut : tuple of str
            Patterns of paths. Outputs of the components that match may be anything in every
            clock, so that what is claimed holds whatever these compute.
        """
        fragment = Fragment.get(component, None)
        self.m.submodules[name] = fragment
        parts: dict[str, Any] = {}
        self._list("", fragment, parts, cut)
        return parts

    def _list(self, path: str, fragment: Any, parts: dict[str, Any], cut: tuple[str, ...]) -> None:
        for index, (part, name, source) in enumerate(fragment.subfragments):
            if isinstance(part, Instance):
                continue
            here = f"{path}{name}"
            parts[here] = component = part.origins[0]
            if any(fnmatch(here, pattern) for pattern in cut):
                fragment.subfragments[index] = (Fragment(), name, source)
                for _, member, signal in component.signature.flatten(component):
                    if member.flow == Out:
                        self._ports.append(Value.cast(signal))
            else:
                self._list(f"{here}.", part, parts, cut)

    def free(self, shape: Any, name: str) -> Any:
        """Return a signal that may be anything, in every clock."""
        signal = Signal(shape, name=name)
        self._ports.append(Value.cast(signal))
        return signal

    def constant(self, shape: Any, name: str) -> Any:
        """Return a signal that may be anything, but the same in every clock."""
        return self.free(shape, CONSTANT + name)

    def drive(self, name: str, port: Any) -> Any:
        """Make an input of a component free, and return it."""
        words = Value.cast(port)
        self.m.d.comb += words.eq(self.free(len(words), name))
        return port

    def assume(self, name: str, value: Any) -> None:
        """Leave out all runs in which `value` is ever low."""
        self._say(ASSUME + name, value)

    def claim(self, name: str, value: Any) -> None:
        """Claim that `value` is never low."""
        self._say(CLAIM + name, value)

    def cover(self, name: str, value: Any) -> None:
        """Claim that `value` can be high, so that the other claims are not about nothing."""
        self._say(COVER + name, value)

    def past(self, value: Any, clocks: int) -> Any:
        """Return `value` as it was some clocks ago."""
        for _ in range(clocks):
            earlier = Signal.like(value, name="earlier")
            self.m.d.sync += earlier.eq(value)
            value = earlier
        return value

    def to_rtlil(self) -> str:
        """Return the circuit as RTLIL."""
        return str(rtlil.convert(self.m, name=TOP, ports=self._ports, emit_src=False))

    def _say(self, name: str, value: Any) -> None:
        signal = Signal(name=name.replace(" ", "_"))
        self.m.d.comb += signal.eq(value)
        self._ports.append(signal)
