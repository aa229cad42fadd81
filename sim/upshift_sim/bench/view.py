"""A view of a bench's waveform for GTKWave: grouped, in reading order, payloads field by field.

Ports and the fields of their payloads are known from the configuration. What is inside is looked
up in the Verilog that was simulated, so that the view names nothing that is not in the waveform.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from upshift import layout
from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift.layout import Fields
from upshift_hw import export

_GROUPS = {
    "clock": ["clk", "rst"],
    "command": [r"i_command__.*"],
    "gradients": [r"i_gradients__.*"],
    "weights in": [r"i_weights__.*"],
    "pipeline": [
        r"sequencer\.(active|valid|hazard|waiting|stalled)",
        r"datapath\.(read_valid|valid_\d)",
        r"datapath\.lane0\.(steps|weight|new_weight|nonzero|saturated)",
    ],
    "memory": [r"memory\.(read|write)_\w+", r"i_access__.*"],
    "weights out": [r"o_weights__.*"],
    "updates": [r"o_updates__.*"],
    "report": [r"o_report__.*"],
    "counters": [r"registers\.(clocks|beats|stalls|waits)_value", r"bus__\w+"],
}
"""Signals of each group, in order. A unit need not have all groups."""

_MODULE = re.compile(r"^module (\w+) \((.*?)^\);\n(.*?)^endmodule", re.MULTILINE | re.DOTALL)
_NET = re.compile(
    r"^ *(?:(?:input|output) )?(?:wire|reg)(?: signed)?(?: \[(\d+):(\d+)\])? "
    r"((?!_\d)\w+)\b(?! *\[)",  # neither nameless nor a memory
    re.MULTILINE,
)
_INSTANCE = re.compile(r"^  (\w+) (\w+) \($", re.MULTILINE)

_HEXADECIMAL, _DECIMAL, _SIGNED, _BIT = "@22", "@24", "@420", "@28"
_WIDEST_NUMBER = 30
_OPEN, _CLOSED = "@800200", "@c00200"
_END_OPEN, _END_CLOSED = "@1000200", "@1401200"


def signals(verilog: str, top: str = export.TOP) -> dict[str, tuple[int, int] | None]:
    """Return the bounds of all named signals of a design, by path; None for single bits."""
    modules = {name: (head, body) for name, head, body in _MODULE.findall(verilog)}

    def walk(module: str, path: str) -> Iterator[tuple[str, tuple[int, int] | None]]:
        head, body = modules[module]
        for high, low, name in _NET.findall(head + body):
            yield path + name, (int(high), int(low)) if high else None
        for kind, name in _INSTANCE.findall(body):
            if kind in modules:
                yield from walk(kind, f"{path}{name}.")

    return dict(walk(top, ""))


def payloads(config: UnitConfig) -> dict[str, Fields]:
    """Return the fields of the payload of each stream that a unit may have."""
    return {
        "i_command": layout.command(config),
        "i_gradients": layout.gradients(config),
        "i_weights": layout.weights(config),
        "i_access": layout.access(config),
        "o_weights": layout.weights(config),
        "o_updates": layout.updates(config),
        "o_report": layout.report(config),
    }


def gtkwave(config: UnitConfig, verilog: str, dump: str) -> str:
    """Return the text of a GTKWave save file.

    Parameters
    ----------
    config : UnitConfig
    verilog : str
        What was simulated.
    dump : str
        Name of the waveform, beside which the file will be.
    """
    found = signals(verilog)
    lines = [f'[dumpfile] "{dump}"', "[timestart] 0", "[sst_expanded] 1"]
    for group, patterns in _GROUPS.items():
        names = [name for pattern in patterns for name in found if re.fullmatch(pattern, name)]
        if names:
            lines += [_OPEN, f"-{group}"]
            for name in names:
                lines += _show(config, name, found[name])
            lines += [_END_OPEN, f"-{group}"]
    return "\n".join(lines) + "\n"


def _show(config: UnitConfig, name: str, bounds: tuple[int, int] | None) -> list[str]:
    """Return the lines of one signal; a payload is taken apart."""
    path = f"{export.TOP}.{name}"
    if bounds is None:
        return [_BIT, path]
    path += f"[{bounds[0]}:{bounds[1]}]"
    stream, payload, _ = name.partition("__payload")
    fields = payloads(config).get(stream) if payload else None
    if fields is None:
        counts = name.endswith("_value")
        return [_DECIMAL if counts else _HEXADECIMAL, path]
    lines = [_CLOSED, f"-{stream}"]
    for offset, field in layout.places(fields):
        # GTKWave counts a vector's bits from its left end.
        left = bounds[0] - offset - field.width + 1
        bits = " ".join(f"({bit}){path}" for bit in range(left, left + field.width))
        radix = _HEXADECIMAL if field.width > _WIDEST_NUMBER else _DECIMAL
        if field.signed or _is_number(config, stream):
            radix = _SIGNED
        lines += [radix, f"#{{{field.name}}} {bits}"]
    return [*lines, _END_CLOSED, f"-{stream}"]


def _is_number(config: UnitConfig, stream: str) -> bool:
    """Return whether all fields of a stream are signed words."""
    return stream.endswith("_weights") or (
        stream == "i_gradients" and isinstance(config.gradient, Fixed)
    )
