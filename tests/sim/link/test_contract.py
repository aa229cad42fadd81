"""A board behind its link keeps the promises of every device, in-process and on a real line."""

import threading

import pytest

import upshift.device
from sim.test_devices import CONFIG, DeviceContract
from upshift.device.link import LinkDevice
from upshift.link.config import LinkConfig
from upshift_sim.board import BoardTransport, VirtualBoard
from upshift_sim.faults import LINK
from upshift_sim.server import PtyLine, SocketLine, serve

CROOKED = LinkConfig(clock=4_700_000, baud=1_000_000, frame_bytes=256)


def board(config):
    """Return a board that simulates fast; all but the first configuration have an odd divider."""
    return VirtualBoard(config, LINK if config == CONFIG else CROOKED)


class TestVirtualBoard(DeviceContract):
    def open(self, config):
        return LinkDevice(BoardTransport(board(config), "virtual:test"), config)


class OnALine(DeviceContract):
    """The shipped opener and its thread, with a served board at the other end."""

    line: type

    @pytest.fixture(autouse=True)
    def servers(self):
        self._close = []
        yield
        for close in self._close:
            close()

    def open(self, config):
        line, held, stop = self.line(), board(config), threading.Event()
        thread = threading.Thread(target=serve, args=(held, line, stop.is_set))
        thread.start()

        def close():
            stop.set()
            thread.join()
            line.close()
            held.close()

        self._close.append(close)
        return upshift.device.open(line.url, config)


class TestPseudoTerminal(OnALine):
    line = PtyLine


class TestSocket(OnALine):
    line = SocketLine
