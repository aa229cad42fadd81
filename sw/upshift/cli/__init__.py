"""The command ``upshift``. Each command has a module of its own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from upshift import __version__
from upshift.cli import bench, devices, generate, train, verify
from upshift.device import DeviceError

_COMMANDS = (train, generate, verify, devices, bench)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = argparse.ArgumentParser(
        prog="upshift",
        description="Train with shifts, masks and adds, at a resolution that rises.",
        epilog="exit status: 0 success, 1 a check or a device failed, 2 wrong usage or input",
    )
    top.add_argument("--version", action="version", version=f"upshift {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in _COMMANDS:
        module.add_parser(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    options = parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except ImportError as error:
        print(
            f"upshift {options.command}: needs the package {error.name}, which is not installed: "
            "pip install 'upshift[demo]'",
            file=sys.stderr,
        )
        return 1
    except DeviceError as error:
        print(f"upshift {options.command}: {error}", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        print(f"upshift {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
