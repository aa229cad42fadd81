"""What the generated Verilog testbench is filled with: sizes, field positions and vectors."""

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files

from upshift import layout, registers, vectors
from upshift.config import UnitConfig
from upshift.formats import Raw
from upshift.layout import Operation
from upshift.vectors import Vector


def vector_files(
    config: UnitConfig,
    played: Sequence[Vector],
    before: Raw,
    after: Raw,
    reports: Sequence[Mapping[str, int]],
    *,
    seed: int,
) -> dict[str, str]:
    """Return the hexadecimal files that the testbench reads with ``$readmemh``.

    Parameters
    ----------
    config : UnitConfig
    played : sequence of Vector
    before, after : ndarray of int64, shape (depth,)
        Weights before the first and after the last command.
    reports : sequence of dict
        Fields of the expected reports, one for each command.
    seed : int
        Seed of the vectors, stated in each file.

    Returns
    -------
    dict
        Text by file name.
    """
    command, report = layout.command(config), layout.report(config)
    row = layout.width(layout.weights(config))
    beat = layout.width(layout.gradients(config))
    beats = [beat for vector in played for beat in vectors.beats(config, vector)]
    contents = {
        "initial_weights": ("rows of weights, lane 0 right", row, _rows(config, before)),
        "commands": (
            "commands",
            layout.width(command),
            [layout.pack(command, vector.command.fields()) for vector in played],
        ),
        "gradients": (
            "beats of gradients, lane 0 right",
            beat,
            [layout.pack_lanes(beat, config.gradient.width) for beat in beats],
        ),
        "reports": (
            "expected reports",
            layout.width(report),
            [layout.pack(report, fields) for fields in reports],
        ),
        "final_weights": ("expected rows of weights, lane 0 right", row, _rows(config, after)),
    }
    if config.memory == "streamed":
        contents["rows"] = ("rows of the beats", 32, _addresses(config, played))
    return {
        f"vectors/{name}.hex": _hexadecimal(
            f"{what}, {bits} bits, seed {seed}, configuration {config.digest[:16]}", bits, words
        )
        for name, (what, bits, words) in contents.items()
    }


def _rows(config: UnitConfig, weights: Raw) -> list[int]:
    return [
        layout.pack_lanes(row, config.weight.width)
        for row in weights.reshape(-1, config.lanes).tolist()
    ]


def _addresses(config: UnitConfig, played: Sequence[Vector]) -> Iterable[int]:
    """Yield the row of each beat; those beyond the memory, which are refused, wrap around."""
    for vector in played:
        first = vector.command.base // config.lanes
        for number, _ in enumerate(vectors.beats(config, vector)):
            yield (first + number) % config.rows


def _hexadecimal(comment: str, bits: int, words: Iterable[int]) -> str:
    digits = -(-bits // 4)
    return "\n".join([f"// {comment}", *(f"{word:0{digits}x}" for word in words), ""])


def blocks(
    config: UnitConfig,
    played: Sequence[Vector],
    reports: Sequence[Mapping[str, int]],
    *,
    initialised: bool,
) -> dict[str, str]:
    """Return the parts of the testbench that follow from the configuration and the vectors.

    Parameters
    ----------
    config : UnitConfig
    played : sequence of Vector
    reports : sequence of dict
        Expected for the vectors.
    initialised : bool
        The unit has its initial weights by itself.
    """
    return _weights(config, initialised=initialised) | {
        "parameters": _indented(2, _parameters(config, played, reports)),
        "comparisons": _indented(8, _comparisons(config)),
        "identity": _indented(
            4, [_check(name, value) for name, value in registers.identity(config).items()]
        ),
        "outcome": _indented(4, _outcome(config, played, reports)),
    }


def _weights(config: UnitConfig, *, initialised: bool) -> dict[str, str]:
    """Return what the testbench does about weights, by the place in the testbench."""
    names = ["weights_initial"] if initialised else []
    names.append(f"weights_{config.memory}")
    if config.updates:
        names.append("updates")
    places = dict.fromkeys(("signals", "dut_ports", "moves", "tasks", "before", "after"), "")
    for name in names:
        text = files("upshift_hw").joinpath("templates", f"{name}.v").read_text(encoding="utf-8")
        _, *parts = re.split(r"^//@ (\w+)\n", text, flags=re.MULTILINE)
        for place, part in zip(parts[::2], parts[1::2], strict=True):
            places[place] += part
    return {place: text.rstrip("\n") for place, text in places.items()}


def _indented(spaces: int, lines: Iterable[str]) -> str:
    return "\n".join((" " * spaces + line).rstrip() for line in lines)


def _parameters(
    config: UnitConfig, played: Sequence[Vector], reports: Sequence[Mapping[str, int]]
) -> Iterable[str]:
    row = layout.width(layout.weights(config))
    odd = sum(1 << lane for lane in range(1, config.lanes, 2))
    even_words = layout.pack_lanes(
        [(lane + 1) % 2 * -1 for lane in range(config.lanes)], config.weight.width
    )
    numbers = {
        "LANES": config.lanes,
        "ROWS": config.rows,
        "COMMANDS": len(played),
        "BEATS": sum(1 for vector in played for _ in vectors.beats(config, vector)),
        "WEIGHT_WIDTH": config.weight.width,
        "ROW_WIDTH": row,
        "BEAT_WIDTH": layout.width(layout.gradients(config)),
        "COMMAND_WIDTH": layout.width(layout.command(config)),
        "REPORT_WIDTH": layout.width(layout.report(config)),
        "ADDRESS_WIDTH": max(r.address for r in registers.REGISTERS).bit_length(),
    }
    tables = [("command", "", layout.command(config))]
    if config.memory == "resident":
        tables.append(("host access", "ACCESS_", layout.access(config)))
        numbers["ACCESS_WIDTH"] = layout.width(layout.access(config))
    if config.updates:
        tables.append(("update", "UPDATE_", layout.updates(config)))
        accepted = [
            sum(1 for _ in vectors.beats(config, vector))
            for vector, report in zip(played, reports, strict=True)
            if not report["refusal"]
        ]
        numbers["UPDATE_WIDTH"] = layout.width(layout.updates(config))
        numbers["UPDATES"] = sum(accepted)
        numbers["LAST_UPDATES"] = sum(beats > 0 for beats in accepted)
    yield from (f"localparam {name} = {value};" for name, value in numbers.items())
    if config.memory == "resident":
        yield f"localparam [LANES-1:0] ODD_LANES = {config.lanes}'h{odd:x};"
        yield f"localparam [ROW_WIDTH-1:0] EVEN_WORDS = {row}'h{even_words:x};"
    for heading, prefix, fields in tables:
        yield ""
        yield f"// Fields of a {heading}."
        for offset, field in layout.places(fields):
            yield f"localparam {prefix}{field.name.upper()}_LSB = {offset};"
            yield f"localparam {prefix}{field.name.upper()}_WIDTH = {field.width};"


def _comparisons(config: UnitConfig) -> Iterable[str]:
    places = {field.name: offset for offset, field in layout.places(layout.report(config))}
    for offset, field in layout.places(layout.report(config)):
        top, missing = offset + field.width - 1, 64 - field.width
        bits = f"[{top}:{offset}]" if field.width > 1 else f"[{offset}]"
        actual, wanted = (
            f"{{{{{missing}{{{name}[{top}]}}}}, {name}{bits}}}"
            if field.signed
            else f"{{{missing}'d0, {name}{bits}}}"
            for name in ("report", "expected")
        )
        only = f"if (expected[{places['needed_valid']}]) " if field.name == "needed" else ""
        yield f'{only}compare("{field.name}", {actual}, {wanted});'


def _outcome(
    config: UnitConfig, played: Sequence[Vector], reports: Sequence[Mapping[str, int]]
) -> Iterable[str]:
    floor = error = 0
    for vector, report in zip(played, reports, strict=True):
        error |= report["refusal"]
        if vector.command.operation == Operation.RAISE and not report["refusal"]:
            floor = vector.command.resolution
    beats = sum(1 for vector in played for _ in vectors.beats(config, vector))
    shift = next(f.offset for f in registers.BY_NAME["status"].fields if f.name == "floor")
    yield _check("status", floor << shift)
    yield _check("error", error)
    yield _check("beats", beats)


def _check(name: str, value: int) -> str:
    return f'check_register("{name}", {registers.BY_NAME[name].address}, 32\'h{value:08x});'
