"""C++ made into shared libraries, each compiled once and kept under a hash of what went in."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path


class CompilerMissingError(RuntimeError):
    """There is no C++ compiler."""


def cache_directory() -> Path:
    """Return where libraries are kept: ``$XDG_CACHE_HOME/upshift`` or its default."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "upshift"


def compiler() -> str:
    """Return the path of a C++ compiler, or raise CompilerMissingError."""
    for name in ("c++", "g++", "clang++"):
        found = shutil.which(name)
        if found:
            return found
    raise CompilerMissingError(
        "needs a C++ compiler, and none of c++, g++, clang++ is on the PATH: "
        "install one, for example with 'apt install g++'"
    )


def library(
    sources: dict[str, str],
    main: str,
    flags: list[str],
    *,
    others: Iterable[str] = (),
    prepare: Callable[[Path], list[str]] = lambda directory: [],
) -> Path:
    """Return a shared library, compiled unless it is kept already.

    Parameters
    ----------
    sources : dict
        Texts of files, by name.
    main : str
        The file that is compiled.
    flags : list of str
        Beside ``-shared -fPIC``.
    others : iterable of str
        What else decides what the library will be.
    prepare : callable, optional
        Makes more files in the directory of the sources, and returns more flags.

    Raises
    ------
    CompilerMissingError
        If there is no C++ compiler.
    RuntimeError
        If it fails; the message has what it said.
    OSError
        If the library cannot be kept.
    """
    program = compiler()
    inputs = [*sources.values(), main, *flags, *others, _version(program), processor()]
    kept = cache_directory() / f"{hashlib.sha256(chr(0).join(inputs).encode()).hexdigest()}.so"
    if kept.exists():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as name:
        directory = Path(name)
        for file, source in sources.items():
            (directory / file).write_text(source)
        more = prepare(directory)
        _run([program, "-shared", "-fPIC", *flags, *more, main, "-o", "library.so"], directory)
        os.replace(directory / "library.so", kept)  # atomic: two builders cannot clash
    return kept


@functools.cache
def _version(program: str) -> str:
    return _run([program, "--version"])


def _run(command: list[str], directory: Path | None = None) -> str:
    done = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        told = "\n".join(done.stderr.splitlines()[:20])
        raise RuntimeError(f"{command[0]} failed:\n{told}")
    return done.stdout


def processor() -> str:
    """Return what ``-march=native`` depends on."""
    names = "model name", "flags", "Features", "CPU implementer", "CPU part"
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    told = sorted({line for line in lines if line.startswith(names)})
    return "\n".join([platform.machine(), platform.processor(), *told])
