"""The command ``upshift``. Each command is a module, found by entry point.

A command module has ``add_parser(commands)``, which sets ``run`` on its parser, and imports what
it needs when it runs, so that ``upshift --help`` is quick and works with any extras missing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points

from upshift import __version__
from upshift.device import DeviceError

_GROUP = "upshift.commands"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = argparse.ArgumentParser(
        prog="upshift",
        description="Train with shifts, masks and adds, at a resolution that rises.",
        epilog="exit status: 0 success, 1 a check or a device failed, 2 wrong usage or input",
    )
    top.add_argument("--version", action="version", version=f"upshift {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for point in sorted(entry_points(group=_GROUP)):
        point.load().add_parser(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    options = parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except ImportError as error:
        message = (
            f"needs the package {error.name}, which is not installed: pip install 'upshift[demo]'"
        )
        status = 1
    except DeviceError as error:
        message, status = str(error), 1
    except (ValueError, OSError) as error:
        message, status = str(error), 2
    except KeyboardInterrupt:
        message, status = "interrupted", 130
    print(f"upshift {options.command}: {message}", file=sys.stderr)
    return status
