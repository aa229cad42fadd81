"""The bench around one unit in its AXI shell: clocks, masters, checkers, and the integer model.

A scenario sends commands with their packets; what must come of them follows from the model, and
from what the shell promises about packets that are too short or too long.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiStreamBus,
    AxiStreamSink,
    AxiStreamSource,
)

from upshift import layout
from upshift.formats import Fixed, Raw
from upshift.layout import Operation
from upshift.reference import Command, Unit
from upshift.registers import ShellOperation
from upshift.vectors import Vector, beats
from upshift.words import from_bytes, to_bytes, word_bytes
from upshift_sim.axi_bench import bins
from upshift_sim.axi_bench.access import PATIENCE, TABLE, MismatchError, Registers, require
from upshift_sim.axi_bench.case import AxiCase
from upshift_sim.axi_bench.checkers import LiteChecker, ProtocolError, StreamChecker
from upshift_sim.axi_bench.expected import Expected
from upshift_sim.bench.coverage import Coverage


class AxiBench:
    """One unit in its shell with everything that is connected to it.

    Parameters
    ----------
    dut : object
        The top module's handle.
    case : AxiCase

    Attributes
    ----------
    model : Unit
        What the unit must hold; of a streamed unit, what the memory outside must hold.
    expected : deque of Expected
        Reports that are due.
    clock : int
        Rising edges of ``aclk`` so far.
    commands : int
        Commands started.
    registers : Registers
    gradients : StreamChecker
        Watches the gradients.
    coverage : Coverage
        What has been met.
    broken : AssertionError or None
        The rule that was broken, or that it takes too long.
    """

    def __init__(self, dut: Any, case: AxiCase):
        self.case = case
        self.config = config = case.unit
        self.rng = random.Random(case.seed)
        self.model = Unit(config)
        self.expected: deque[Expected] = deque()
        self.rows_expected: deque[Raw] = deque()
        self.updates_expected: deque[list[tuple[int, dict[int, int]]]] = deque()
        self.clock = self.commands = self.reports = self.rows = 0
        self.coverage = Coverage(bins.required(config))
        self.dut = dut
        self.broken: AssertionError | None = None
        self._operands: dict[str, int] = {}
        self.gradients = StreamChecker(dut, "s_axis_gradients")
        self._weights = StreamChecker(dut, "s_axis_weights")
        self.read_back = StreamChecker(dut, "m_axis_weights")
        self.streams = [self.gradients, self._weights, self.read_back]
        self.updates = StreamChecker(dut, "m_axis_updates", user=True) if config.updates else None
        if self.updates is not None:
            self.streams.append(self.updates)
        self._lite = LiteChecker(dut, "s_axi")
        common = {"reset": dut.aresetn, "reset_active_level": False}
        master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.aclk, **common)
        if case.idle:
            for channel in (master.write_if.aw_channel, master.write_if.w_channel):
                channel.set_pause_generator(self._pauses())
            master.read_if.ar_channel.set_pause_generator(self._pauses())
        if case.stall:
            master.write_if.b_channel.set_pause_generator(self._pauses(dut.s_axi_bvalid))
            master.read_if.r_channel.set_pause_generator(self._pauses(dut.s_axi_rvalid))
        self.registers = Registers(master)
        self._gradient_source = self._source("s_axis_gradients", common)
        self._weight_source = self._source("s_axis_weights", common)
        self._sinks = {}
        for name in ("m_axis_weights", "m_axis_updates")[: 1 + config.updates]:
            bus = AxiStreamBus.from_prefix(dut, name)
            self._sinks[name] = AxiStreamSink(bus, dut.aclk, **common)

    def _source(self, name: str, common: dict[str, Any]) -> AxiStreamSource:
        source = AxiStreamSource(AxiStreamBus.from_prefix(self.dut, name), self.dut.aclk, **common)
        if self.case.idle:
            source.set_pause_generator(self._pauses())
        return source

    def hold(self, *, back: bool) -> None:
        """Take nothing that comes out, or take it as the case says."""
        for name, sink in self._sinks.items():
            sink.clear_pause_generator()
            sink.pause = back
            if self.case.stall and not back:
                sink.set_pause_generator(self._pauses(getattr(self.dut, f"{name}_tvalid")))

    def _pauses(self, valid: Any = None) -> Iterator[bool]:
        """Yield pauses at random; also while `valid` is not one, since READY may wait for it."""
        for _ in itertools.count():
            yield self.rng.random() < 0.4 or (valid is not None and valid.value != 1)

    # -- clocks and resets ------------------------------------------------------------------

    async def start(self) -> None:
        """Start the clocks, reset, and fill the weights with random ones."""
        dut, case = self.dut, self.case
        dut.aresetn.value = 0
        if case.mutant is not None:
            dut.mutant.value = case.mutant
        Clock(dut.aclk, case.bus_period, unit="ps", impl="gpi").start(start_high=False)
        if case.unit_period is not None:
            Clock(dut.unit_clk, case.unit_period, unit="ps", impl="gpi").start(start_high=False)
        cocotb.start_soon(self._watch())
        self.hold(back=False)
        await self.bus_reset()
        low, high = self.config.weight.min, self.config.weight.max
        self.model.weights[:] = [self.rng.randint(low, high) for _ in range(self.config.depth)]
        if self.config.memory == "resident":
            await self.write_weights(0, self.model.weights.copy())

    async def _watch(self) -> None:
        reset = 0
        while True:
            await RisingEdge(self.dut.aclk)
            self.clock += 1
            reset = 0 if int(self.dut.aresetn.value) else reset + 1
            try:
                for checker in self.streams:
                    checker.sample(self.clock, reset=reset)
                self._lite.sample(reset=reset)
                require(self.clock != self.case.longest, f"not done after {self.clock} clocks")
            except (ProtocolError, MismatchError) as error:
                self.broken = error
                raise

    async def bus_reset(self, clocks: int = 3) -> None:
        """Hold ``aresetn`` low for some clocks."""
        self.dut.aresetn.value = 0
        for source in (self._gradient_source, self._weight_source):
            source.clear()
        for _ in range(clocks):
            await RisingEdge(self.dut.aclk)
        self.dut.aresetn.value = 1
        self._forget()
        await RisingEdge(self.dut.aclk)

    async def soft_reset(self) -> None:
        """Reset by the register; the sources go on with the packets that they are in."""
        for source in (self._gradient_source, self._weight_source):
            source.clear()  # all but the packet that has begun
        await self.registers.write("reset", 5)
        await self.registers.poll("reset", 2, "for the end of the reset", clear=True)
        self._forget()

    def _forget(self) -> None:
        self.expected.clear()
        self.rows_expected.clear()
        self.updates_expected.clear()
        self._operands.clear()
        self.model.floor = 0

    async def clocks(self, count: int) -> None:
        """Let bus clocks pass."""
        await Timer(count * self.case.bus_period, unit="ps")

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Let clocks pass until a condition holds.

        Raises
        ------
        MismatchError
            If it takes too long.
        """
        for _ in range(PATIENCE):
            if condition():
                return
            await RisingEdge(self.dut.aclk)
        raise MismatchError(f"waited too long {what}")

    # -- commands ---------------------------------------------------------------------------

    async def command(self, operation: ShellOperation, command: Command) -> None:
        """Start a command when there is room."""
        while not (await self.registers.poll("state", 0xFFFF00, "for room or a report")) & 0xFF00:
            await self.report()
        operands = {**vars(command), "operation": int(operation)}
        for name, value in operands.items():
            if self._operands.get(name) != value:
                await self.registers.write(name, int(value))
        self._operands = operands
        await self.registers.write("control", 1)
        self.commands += 1
        self.coverage.hit(bins.operation(operation))

    async def burst(
        self, vector: Vector, *, gradients: int | None = None, weights: int | None = None
    ) -> None:
        """Play a vector; `gradients` and `weights` are the beats of its packets if not its own."""
        self.send(vector, gradients=gradients, weights=weights)
        await self.command(ShellOperation(int(vector.command.operation)), vector.command)

    def send(
        self, vector: Vector, *, gradients: int | None = None, weights: int | None = None
    ) -> None:
        """Send the packets of a vector, and note what must come of it."""
        config, command = self.config, vector.command
        played = list(beats(config, vector))
        size = len(played)
        if gradients is None:
            gradients = size
        streamed = config.memory == "streamed"
        weights = size if streamed and weights is None else weights or 0
        if size:
            self._send(self._gradient_source, played, gradients, config.gradient.width)
        if streamed and size:
            self._send(self._weight_source, self._rows(command), weights, config.weight.width)

        # Beats that did not come are zeros, and rows that did not come are not there.
        used = min(gradients, size)
        seen = min(used, weights) if streamed else used
        zeroed = vector.gradients.copy()
        zeroed[max(0, seen * config.lanes - command.base % config.lanes) :] = 0
        report = self.execute(command, zeroed)
        expected = Expected(report, used, min(weights, size))
        for name, sent in (("gradients", gradients), ("weights", weights)):
            if size and (streamed or name == "gradients") and sent != size:
                expected.flags.add(f"{name}_{'early' if sent < size else 'late'}")
        self.expected.append(expected)
        if streamed and size:
            self.rows_expected.append(np.array(self._rows(command)[: expected.weights]))

    def send_raw(self, data: bytes) -> None:
        """Send bytes as a packet of gradients."""
        self._gradient_source.send_nowait(data)

    def forget_operands(self) -> None:
        """Write all command registers again with the next command."""
        self._operands.clear()

    def once(self, weights: Raw, vector: Vector) -> Raw:
        """Return weights after one burst on them."""
        unit = Unit(self.config)
        unit.weights[:] = weights
        unit.execute(vector.command, vector.gradients)
        return unit.weights

    def _rows(self, command: Command) -> list[Raw]:
        """Return the rows of a burst as the memory outside has them; beyond its end are zeros."""
        lanes = self.config.lanes
        first = command.base // lanes
        size = self.config.beats(command.base, command.count)
        held = self.model.weights.reshape(-1, lanes)
        zeros = np.zeros(lanes, np.int64)
        return [held[r] if r < len(held) else zeros for r in range(first, first + size)]

    def execute(self, command: Command, gradients: Raw) -> dict[str, int]:
        """Let the model execute a command, note the rows that it updates, and return its report."""
        report = self.model.execute(command, gradients)
        if self.updates is not None and gradients.size and not report["refusal"]:
            rows: dict[int, dict[int, int]] = {}
            for place in range(command.base, command.base + command.count):
                row, lane = divmod(place, self.config.lanes)
                rows.setdefault(row, {})[lane] = int(self.model.weights[place])
            self.updates_expected.append([*rows.items()])
        return report

    def _send(self, source: Any, rows: list[Raw], size: int, width: int) -> None:
        """Send `size` beats as one packet; what is missing is random."""
        missing = range(max(0, size - len(rows)))
        words = [w for row in rows[:size] for w in row.tolist()]
        words += [
            self.rng.getrandbits(width - 1) for _ in missing for _ in range(self.config.lanes)
        ]
        source.send_nowait(to_bytes(np.array(words, np.int64), width))

    async def write_weights(self, base: int, words: Raw, *, rows: int | None = None) -> None:
        """Write weights by the stream; `rows` is the size of the packet if not its own."""
        config = self.config
        command = Command(Operation.UPDATE, base, words.size, 0, 0)
        size = config.beats(base, words.size)
        offset = base % config.lanes
        padded = np.zeros(size * config.lanes, np.int64)
        padded[offset : offset + words.size] = words
        sent = size if rows is None else rows
        self._send(
            self._weight_source, list(padded.reshape(-1, config.lanes)), sent, config.weight.width
        )
        expected = self._access(command, min(sent, size))
        if sent != size:
            expected.flags.add("weights_early" if sent < size else "weights_late")
        if not expected.report["refusal"]:
            kept = max(0, min(words.size, sent * config.lanes - offset))
            self.model.weights[base : base + kept] = words[:kept]
        await self.command(ShellOperation.WRITE, command)

    async def read_weights(self, base: int, count: int) -> None:
        """Ask for weights by the stream, and note what must come."""
        command = Command(Operation.UPDATE, base, count, 0, 0)
        size = self.config.beats(base, count)
        expected = self._access(command, size)
        if expected.report["refusal"]:
            expected.weights = 0
        else:
            self.rows_expected.append(np.array(self._rows(command)))
        await self.command(ShellOperation.READ, command)

    def _access(self, command: Command, rows: int) -> Expected:
        refusal = Unit(self.config).refusal(command)
        report = {f.name: 0 for f in layout.report(self.config)}
        report["refusal"] = int(refusal)
        report["elements"] = 0 if refusal else command.count
        expected = Expected(report, weights=rows)
        self.expected.append(expected)
        return expected

    # -- what comes back --------------------------------------------------------------------

    async def report(self) -> None:
        """Wait for a report and compare it with the next that is due."""
        flags = await self.registers.poll("report_flags", 1 << 31, f"for report {self.reports}")
        expected = self.expected.popleft()
        got = {}
        for name in ("elements", "nonzero", "saturated", "nonfinite", "needed"):
            got[name] = await self.registers.read(f"report_{name}")
        got["needed"] -= (got["needed"] >> 31) << 32
        used = (
            await self.registers.read("report_gradients"),
            await self.registers.read("report_weights"),
        )
        names = {f.name: (flags >> f.offset) & ((1 << f.width) - 1) for f in _FLAGS}
        got |= {name: names.pop(name) for name in ("refusal", "needed_valid")}
        raised = {name for name, value in names.items() if value and name != "valid"}
        due = (expected.report, expected.gradients, expected.weights, expected.flags)
        require((got, *used, raised) == due, f"report {(got, *used, raised)}, expected {due}")
        await self.registers.write("control", 2)
        self.reports += 1

    async def finish(self) -> None:
        """Wait for all reports and rows that are due, and compare them."""
        while self.expected:
            await self.report()
        while self.rows_expected:
            await self.until(lambda: bool(self.read_back.packets), "for a packet of weights")
            self.check_rows()
        if self.updates is not None:
            await self._check_updates(self.updates)
        require(not await self.registers.read_field("state", "busy"), "busy after the last report")

    def check_rows(self) -> None:
        """Compare the oldest packet of weights."""
        packet, due = self.read_back.packets.pop(0), self.rows_expected.popleft()
        rows = self.unpack([beat["data"] for beat in packet.beats])
        require(np.array_equal(rows, due), f"rows {rows.tolist()}, expected {due.tolist()}")
        self.rows += len(rows)

    async def _check_updates(self, updates: StreamChecker) -> None:
        """Wait for all updated rows that are due, and compare them."""
        number = len(self.updates_expected)
        await self.until(lambda: len(updates.packets) >= number, "for updated rows")
        bits = layout.row_bits(self.config)
        found = []
        for packet in updates.packets:
            beats = [divmod(beat["user"], 1 << bits) for beat in packet.beats]
            words = self.unpack([beat["data"] for beat in packet.beats]).tolist()
            found.append(
                [
                    (row, {lane: word for lane, word in enumerate(held) if mask >> lane & 1})
                    for (mask, row), held in zip(beats, words, strict=True)
                ]
            )
        due = [*self.updates_expected]
        require(found == due, f"updated rows {found}, expected {due}")
        self.updates_expected.clear()
        updates.packets.clear()

    def unpack(self, beats: list[int]) -> Raw:
        """Return rows of weights, signs extended over all bytes."""
        lanes, width = self.config.lanes, self.config.weight.width
        size = word_bytes(width)
        data = b"".join(beat.to_bytes(lanes * size, "little") for beat in beats)
        rows = from_bytes(data, width).reshape(-1, lanes)
        require(bool(np.all(rows == Fixed(width, 0).check(rows))), "padding is not the sign")
        return rows


_FLAGS = TABLE["report_flags"].fields
