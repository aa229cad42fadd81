"""A compiled netlist as the benches see a simulator's: ports with values, and a clock.

The benches are coroutines that wait for rising edges. Here the edges are made by calls of the
compiled netlist instead of a simulator's scheduler, in this process and without cocotb, so that a
whole bench takes a fraction of a second and can be run thousands of times.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Coroutine, Generator
from pathlib import Path
from typing import Any

_PORT = re.compile(r"^  wire (?:width (\d+) )?.*?(input|output) \d+ .*?\\(\S+)$", re.MULTILINE)
CLOCK = "clk"


class ClocksError(AssertionError):
    """A netlist oscillates, or a bench took more clocks than it was granted."""


def ports(rtlil: str, top: str) -> dict[str, tuple[str, int]]:
    """Return direction and width of the ports of a module, the clock's left out.

    Parameters
    ----------
    rtlil : str
        A design.
    top : str
        Name of the module.
    """
    body = rtlil[rtlil.index(f"\nmodule \\{top}\n") :]
    body = body[: body.index("\nend\n")]
    found = {name: (way, int(width or 1)) for width, way, name in _PORT.findall(body)}
    return {name: port for name, port in found.items() if name != CLOCK}


def _words(bits: int) -> int:
    return -(-bits // 32)


def header(found: dict[str, tuple[str, int]]) -> str:
    """Return the C++ list of the ports: mangled names, and where their words lie."""
    lines = []
    for way, macro in (("input", "PINS_IN"), ("output", "PINS_OUT")):
        word, pins = 0, []
        for name, (direction, bits) in found.items():
            if direction == way:
                pins.append(f"PIN(p_{name.replace('_', '__')}, {word})")
                word += _words(bits)
        lines.append(f"#define {macro}(PIN) {' '.join(pins)}")
    return "\n".join(lines) + "\n"


class Pin:
    """One port; `value` is an unsigned int."""

    def __init__(self, words: memoryview, start: int, bits: int):
        self._bytes = words.cast("B")[4 * start : 4 * (start + _words(bits))]

    @property
    def value(self) -> int:
        """What the next rising edge sees; set inputs only."""
        return int.from_bytes(self._bytes, "little")

    @value.setter
    def value(self, value: int) -> None:
        self._bytes[:] = value.to_bytes(len(self._bytes), "little")


class Pins:
    """A compiled netlist; each port is an attribute.

    Parameters
    ----------
    library : Path
        Made from ``pins.cpp``.
    found : dict
        Its ports, as `ports` returns them.
    """

    def __init__(self, library: Path, found: dict[str, tuple[str, int]]):
        self._library = ctypes.CDLL(str(library))
        self._library.pins_open.restype = ctypes.c_void_p
        self._library.pins_close.argtypes = [ctypes.c_void_p]
        self._library.pins_clock.argtypes = [ctypes.c_void_p] * 3
        self._handle = self._library.pins_open()
        buffers = {}
        for way in ("input", "output"):
            size = sum(_words(bits) for direction, bits in found.values() if direction == way)
            buffers[way] = (ctypes.c_uint32 * max(size, 1))()
        self._buffers = [ctypes.addressof(buffer) for buffer in buffers.values()]
        word = dict.fromkeys(buffers, 0)
        for name, (direction, bits) in found.items():
            view = memoryview(buffers[direction]).cast("B").cast("I")
            setattr(self, name, Pin(view, word[direction], bits))
            word[direction] += _words(bits)

    def __getattr__(self, name: str) -> Pin:
        raise AttributeError(f"the netlist has no port {name}")

    async def edge(self) -> None:
        """Wait for the next rising edge."""
        await _Edge()

    def run(self, bench: Coroutine[Any, Any, None], *, longest: int) -> int:
        """Run a bench to its end and return the clocks that it took.

        Raises
        ------
        ClocksError
            If it takes more than `longest` clocks, or the netlist oscillates.
        """
        for clock in range(longest):
            try:
                bench.send(None)
            except StopIteration:
                return clock
            if self._library.pins_clock(self._handle, *self._buffers):
                bench.close()
                raise ClocksError("the netlist oscillates")
        bench.close()
        raise ClocksError(f"the bench did not end within {longest} clocks")

    def close(self) -> None:
        """Free the netlist."""
        self._library.pins_close(self._handle)
        self._handle = None


class _Edge:
    def __await__(self) -> Generator[None, None, None]:
        yield
