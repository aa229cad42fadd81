"""``upshift devices``: what can be opened here."""

from __future__ import annotations

import argparse
import json
from typing import Any

import upshift.device
from upshift.config import UnitConfig
from upshift.device import DeviceError


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = commands.add_parser(
        "devices",
        help="list the devices that can be opened here",
        description="Open each known kind of device once and say whether it works.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """List the devices."""
    smallest = UnitConfig(lanes=1, depth=16)
    found = []
    for scheme in upshift.device.available():
        try:
            upshift.device.open(f"{scheme}:", default=smallest).close()
            state = "ready"
        except (DeviceError, ValueError) as error:  # the latter where an address is needed
            state = str(error)
        found.append({"url": f"{scheme}:", "state": state})
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        for device in found:
            print(f"{device['url']:<8} {device['state']}")
    return 0
