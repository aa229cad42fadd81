"""``upshift serve``: a virtual board behind a pseudo-terminal or a TCP port."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from upshift_sim.board import VirtualBoard
    from upshift_sim.server import Line, Served

EXAMPLES = """\
examples:
  upshift serve --board ulx3s                 prints the path of a pseudo-terminal
  upshift serve --board icebreaker --port 7000
then, in another terminal:
  upshift train --device serial:///dev/pts/3
  upshift train --device socket://127.0.0.1:7000
"""


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = commands.add_parser(
        "serve",
        help="run a board's complete gateware behind a pseudo-terminal or a TCP port",
        description=(
            "Compile a board's gateware from its RTL, UART pins and all, and put a pseudo-terminal "
            "or a TCP port of this machine in front of it, which a driver cannot tell from the "
            "board. Runs until it is interrupted."
        ),
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--board", required=True, metavar="NAME", help="such as ulx3s")
    line = parser.add_mutually_exclusive_group()
    line.add_argument("--pty", action="store_true", help="a pseudo-terminal; the default")
    line.add_argument(
        "--port", type=int, metavar="N", help="a TCP port on 127.0.0.1; 0 takes one that is free"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, one object a line")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until a signal comes, then say what was done."""
    if options.port is not None and not 0 <= options.port < 65536:
        raise ValueError(f"--port {options.port} is not allowed: 0 to 65535")
    from rich.console import Console

    from upshift_boards import find
    from upshift_sim.board import VirtualBoard
    from upshift_sim.server import PtyLine, SocketLine, serve

    description = find(options.board)
    line = PtyLine() if options.port is None else SocketLine(options.port)
    with Console(stderr=True).status(f"compile {description.name}"):
        board = VirtualBoard(description.config, description.link)
    stopped = threading.Event()
    previous = {
        number: signal.signal(number, lambda *_: stopped.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        _announce(options, description.name, line)
        served = serve(board, line, stopped.is_set)
        _print_statistics(options, board, served)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        line.close()
        board.close()
    return 0


def _announce(options: argparse.Namespace, name: str, line: Line) -> None:
    if options.json:
        print(json.dumps({"board": name, "url": line.url}), flush=True)
        return
    print(f"{name} is at {line.url}; stop it with Ctrl-C")
    print(f"  upshift train --device {line.url}", flush=True)


def _print_statistics(options: argparse.Namespace, board: VirtualBoard, served: Served) -> None:
    counters, status = board.counters(), board.status()
    numbers = {
        "clocks": counters.clocks,
        "board_seconds": counters.clocks / board.link.clock,
        "simulation_seconds": served.seconds,
        "clocks_per_second": served.clocks / served.seconds if served.seconds else 0.0,
        "bytes_to_board": counters.sent,
        "bytes_from_board": counters.received,
        "frames": status["frames"],
        "rejected": status["rejected"],
        "repeated": status["repeated"],
    }
    if options.json:
        print(json.dumps(numbers), flush=True)
        return
    print(
        f"\n{numbers['clocks']:,} clocks, {numbers['board_seconds']:.3g} s of the board's time, "
        f"simulated at {numbers['clocks_per_second']:,.0f} clocks/s"
    )
    print(
        f"{counters.sent:,} bytes to the board and {counters.received:,} from it; "
        f"{status['frames']:,} frames, {status['rejected']:,} rejected, "
        f"{status['repeated']:,} commands came again",
        file=sys.stdout,
    )
