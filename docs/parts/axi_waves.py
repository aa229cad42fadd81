"""The timing diagram of the AXI shell: one packet of gradients, its report and the interrupt.

Drawn like those of the unit, from Amaranth's simulator. What software and a DMA engine would do is
played at the ports, and every level and every payload in the diagram is read from them.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from amaranth.sim import Simulator

from parts import waves
from parts.waves import Trace
from upshift.registers import SHELL_BY_NAME
from upshift.words import to_bytes
from upshift_hw.axi import AxiUnit

BEATS = 2
LATE = 4
"""Clocks in which the source does not have its second beat yet."""
_BUS = "bus"


def _address(name: str) -> int:
    return 4 * SHELL_BY_NAME[name].address


class _Surroundings:
    """Software and a source of gradients around a shell with one clock."""

    def __init__(self, unit: AxiUnit):
        self._unit = unit
        self._rows: list[list[int]] = []
        self._first = 0

    def trace(self) -> dict[str, list[int]]:
        """Simulate from the start of a burst to the read of its report; return the signals."""
        simulator = Simulator(self._unit)
        simulator.add_clock(1e-6, domain=_BUS)
        simulator.add_testbench(self._software)
        simulator.add_testbench(self._source, background=True)
        simulator.add_testbench(self._watch, background=True)
        simulator.run()
        columns = zip(*self._rows[self._first :], strict=True)
        return {name: [*column] for name, column in zip(self._signals(), columns, strict=True)}

    def _signals(self) -> dict[str, Any]:
        bus, axis = self._unit.s_axi, self._unit.s_axis_gradients
        names = ("awvalid", "awaddr", "wdata", "bvalid", "arvalid", "araddr", "rvalid", "rdata")
        return {
            **{f"s_axi {name}": getattr(bus, name) for name in names},
            **{f"gradients {name}": getattr(axis, name) for name in ("tvalid", "tready", "tlast")},
            "irq": self._unit.irq,
        }

    async def _watch(self, context: Any) -> None:
        async for _edge, _reset, *values in context.tick(_BUS).sample(*self._signals().values()):
            self._rows.append(values)

    async def _software(self, context: Any) -> None:
        bus = self._unit.s_axi
        context.set(self._unit.aresetn, 1)
        context.set(bus.wstrb, 0xF)
        context.set(bus.bready, 1)
        context.set(bus.rready, 1)
        operands = {"count": BEATS * waves.CONFIG.lanes, "rate": 1, "resolution": 12}
        for name, value in {"interrupt_enable": 0b010, **operands, "control": 0b01}.items():
            await context.tick(_BUS)
            self._first = len(self._rows)
            context.set(bus.awaddr, _address(name))
            context.set(bus.wdata, value)
            context.set(bus.awvalid, 1)
            context.set(bus.wvalid, 1)
            await context.tick(_BUS).until(bus.awready & bus.wready)
            context.set(bus.awvalid, 0)
            context.set(bus.wvalid, 0)
            await context.tick(_BUS).until(bus.bvalid)
        await context.tick(_BUS).until(self._unit.irq)
        context.set(bus.araddr, _address("report_nonzero"))
        context.set(bus.arvalid, 1)
        await context.tick(_BUS).until(bus.arready)
        context.set(bus.arvalid, 0)
        await context.tick(_BUS).until(bus.rvalid)
        await context.tick(_BUS)

    async def _source(self, context: Any) -> None:
        axis = self._unit.s_axis_gradients
        words = np.full(waves.CONFIG.lanes, waves.GRADIENT)
        beat = to_bytes(words, waves.CONFIG.gradient.width)
        context.set(axis.tdata, int.from_bytes(beat, "little"))
        await context.tick(_BUS).until(self._unit.s_axi.awaddr == _address("control"))
        for number in range(BEATS):
            await context.tick(_BUS).repeat(LATE if number else 1)
            context.set(axis.tlast, number == BEATS - 1)
            context.set(axis.tvalid, 1)
            await context.tick(_BUS).until(axis.tready)
            context.set(axis.tvalid, 0)
            context.set(axis.tlast, 0)


def packet() -> Trace:
    """Record a packet of two beats, the second of which comes late."""
    trace: Trace = dict(_Surroundings(AxiUnit(waves.CONFIG, one_clock=True)).trace())
    for valid, *payloads in (
        ("awvalid", "awaddr", "wdata"),
        ("arvalid", "araddr"),
        ("rvalid", "rdata"),
    ):
        for name in payloads:
            pairs = zip(trace[f"s_axi {valid}"], trace[f"s_axi {name}"], strict=True)
            trace[f"s_axi {name}"] = [f"{value:x}" if there else None for there, value in pairs]
    number = 0
    trace["gradients tdata"] = []
    trace["stalled"] = []
    for valid, ready in zip(trace["gradients tvalid"], trace["gradients tready"], strict=True):
        moves = valid and ready
        trace["gradients tdata"].append(f"A{number}" if valid else None)
        trace["stalled"].append(int(0 < number < BEATS and not moves))
        number += moves
    return trace


@functools.cache
def images() -> dict[str, str]:
    """Return the SVG of the diagram by its file name."""
    axis = [f"gradients {name}" for name in ("tvalid", "tready", "tdata", "tlast")]
    write = [f"s_axi {name}" for name in ("awvalid", "awaddr", "wdata", "bvalid")]
    read = [f"s_axi {name}" for name in ("arvalid", "araddr", "rvalid", "rdata")]
    title = "A packet of two beats behind AXI, its interrupt, and the read of its report"
    drawn = waves.draw(packet(), [*write, *axis, "irq", *read], title, mark="stalled", cell=24)
    return {"timing-axi.svg": drawn}
