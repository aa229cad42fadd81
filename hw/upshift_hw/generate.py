"""Writes an update unit for others to use: Verilog, its registers, vectors and a testbench.

What is written needs neither Python nor this package any more. Every width in it comes from
`upshift.layout` and from the ports of the gateware itself.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from amaranth.hdl import Fragment, Shape
from amaranth.lib.wiring import In

import upshift
from upshift import layout, registers, tables, vectors
from upshift.config import UnitConfig
from upshift.formats import Float, Format, Raw
from upshift.layout import Fields
from upshift.report import Refusal
from upshift_hw import export, pages, testbench
from upshift_hw.streamed import StreamedUnit
from upshift_hw.unit import UpdateUnit
from upshift_hw.units import unit_of

_PORTS = {
    "i_command__payload": "command",
    "i_gradients__payload": "one beat of gradients",
    "o_report__payload": "report, one for each command",
    "i_access__payload": "host access to one row of weights",
    "i_weights__payload": "row of weights of one beat",
    "o_weights__payload": "row of weights that was read, or comes back",
    "o_updates__payload": "row of weights that was updated",
    "bus__address": "register address, in words",
    "bus__read_data": "the register addressed in the clock before",
    "bus__write_enable": "write a register",
    "bus__write_data": "what to write",
}
ELEMENTS = 1000
"""Single updates in ``vectors/elements.hex``."""
_HANDSHAKE = {"valid": "there is a payload", "ready": "the payload is taken"}


def generate(
    config: UnitConfig,
    directory: str | os.PathLike[str],
    *,
    init: Raw | None = None,
    bursts: int = 200,
    seed: int = 0,
) -> list[Path]:
    """Write the unit that `config` describes, with all that is needed to use and to check it.

    Parameters
    ----------
    config : UnitConfig
    directory : path
        Created if it does not exist. Files of the same names are replaced, others left alone.
    init : ndarray of int64, shape (depth,), optional
        Raw weights that the unit holds from power-up on.
    bursts : int
        Random bursts that the testbench plays before the corner cases.
    seed : int
        Seed of weights and bursts.

    Returns
    -------
    list of Path
        The files, `upshift.v` first.

    Raises
    ------
    ValueError
        If the gateware does not take the configuration or `init`, or `bursts` or `seed` is
        negative.
        Nothing has been written then.
    OSError
        If a file cannot be written. Each file is either complete or as it was before.
    """
    if bursts < 0:
        raise ValueError(f"bursts {bursts} is not allowed: 0 or more")
    if seed < 0:
        raise ValueError(f"seed {seed} is not allowed: 0 or more")
    contents = _contents(config, init, bursts, seed)
    return pages.write(directory, contents)


def _contents(config: UnitConfig, init: Raw | None, bursts: int, seed: int) -> dict[str, str]:
    """Return the text of every file by its name."""
    unit = unit_of(config, init)
    Fragment.get(unit, platform=None)  # refuses what the gateware cannot be
    played = vectors.standard(config, bursts, seed)
    before = vectors.initial_weights(config, seed) if init is None else init
    after, reports = vectors.expect(config, before, played)
    hexadecimal = testbench.vector_files(config, played, before, after, reports, seed=seed)
    values = {
        "summary": pages.summary(config, init),
        "digest": config.digest,
        "version": upshift.__version__,
        "bursts": bursts,
        "seed": seed,
        "lanes": config.lanes,
        "distance": unit.distance,
        "latency": unit.latency,
        "ports": "\n".join(_port_rows(unit)),
        "payloads": "\n".join(_payload_tables(config)),
        "vectors": "\n".join(
            f"      - {name}: {{file_type: user, copyto: {name}}}" for name in hexadecimal
        ),
    } | testbench.blocks(config, played, reports, initialised=init is not None)
    values["weights"] = _weights_page(config, values)
    return {
        "upshift.v": _heading(config, init) + export.to_verilog(config, init=init),
        **{
            name: pages.page(name, values)
            for name in ("upshift_tb.v", "upshift.vlt", "upshift.core")
        },
        **hexadecimal,
        "vectors/elements.hex": tables.to_hex(tables.element_vectors(config, ELEMENTS, seed)),
        "config.json": pages.configuration(config),
        "registers.json": registers.to_json(),
        "registers.md": "# Registers\n\n" + registers.to_markdown(),
        "registers.h": registers.to_c_header(config),
        **{name: pages.page(name, values) for name in ("ports.md", "README.md")},
    }


def _weights_page(config: UnitConfig, values: dict[str, object]) -> str:
    names = [f"ports_{config.memory}.md", *(["ports_updates.md"] if config.updates else [])]
    return "".join(pages.page(name, values) for name in names)


def _heading(config: UnitConfig, init: Raw | None) -> str:
    """Return the comment on top of the Verilog."""
    lines = [
        f"Upshift update unit: {pages.summary(config, init)}.",
        f"Configuration digest {config.digest}.",
        f"Emitted by Upshift {upshift.__version__}, {pages.tools()}.",
    ]
    for port, fields in _payloads(config).items():
        lines += ["", f"{port}:"]
        lines += [f"  {bits:>9}  {field.name}: {_meaning(field)}" for bits, field in _bits(fields)]
    comment = "".join(f"// {line}".rstrip() + "\n" for line in lines)
    return comment + "\n`timescale 1ns / 1ps\n\n"


# -- what ports.md says -----------------------------------------------------------------------


def _payloads(config: UnitConfig) -> dict[str, Fields]:
    payloads = {
        "i_command__payload": layout.command(config),
        "i_gradients__payload": layout.gradients(config),
        "o_report__payload": layout.report(config),
    }
    if config.memory == "resident":
        payloads["i_access__payload"] = layout.access(config)
    else:
        payloads["i_weights__payload"] = layout.weights(config)
    payloads["o_weights__payload"] = layout.weights(config)
    if config.updates:
        payloads["o_updates__payload"] = layout.updates(config)
    return payloads


def _meaning(field: layout.Field) -> str:
    return f"{field.doc}, signed" if field.signed else field.doc


def _bits(fields: Fields) -> Iterable[tuple[str, layout.Field]]:
    for offset, field in layout.places(fields):
        top = offset + field.width - 1
        yield f"[{top}:{offset}]" if field.width > 1 else f"[{offset}]", field


def _port_rows(unit: UpdateUnit | StreamedUnit) -> Iterable[str]:
    yield "| `clk` | input | 1 | clock |"
    yield "| `rst` | input | 1 | synchronous reset, active high |"
    for path, member, _value in unit.signature.flatten(unit):
        name = "__".join(str(part) for part in path)
        direction = "input" if member.flow == In else "output"
        meaning = _PORTS.get(name) or _HANDSHAKE[path[-1]]
        yield f"| `{name}` | {direction} | {Shape.cast(member.shape).width} | {meaning} |"


def _payload_tables(config: UnitConfig) -> Iterable[str]:
    formats = {
        "i_gradients__payload": f"Each lane holds a gradient of {_format(config.gradient)}.",
        "i_weights__payload": f"Each lane holds a weight of {_format(config.weight)}.",
        "i_access__payload": "A read has `write` 0; `mask` and `weights` are ignored then.",
        "o_weights__payload": f"Each lane holds a weight of {_format(config.weight)}.",
        "o_report__payload": "`needed` means nothing while `needed_valid` is 0. "
        "Bits of `refusal`: "
        + ", ".join(f"{r.bit_length() - 1} {r.name.lower()}" for r in Refusal)
        + ".",
    }
    for port, fields in _payloads(config).items():
        yield f"### `{port}`, {layout.width(fields)} bits\n"
        yield "| bits | field | meaning |\n|---|---|---|"
        for bits, field in _bits(fields):
            yield f"| {bits} | `{field.name}` | {_meaning(field)} |"
        yield f"\n{formats[port]}\n" if port in formats else ""


def _format(fmt: Format) -> str:
    if isinstance(fmt, Float):
        return (
            f"{fmt}: {fmt.width} bits, the sign first, then {fmt.EXPONENT_BITS} of exponent and "
            f"{fmt.mantissa} of mantissa"
        )
    return f"{fmt}: {fmt.width} bits, two's complement, {fmt.fraction} of them behind the point"
