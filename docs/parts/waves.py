"""Timing diagrams: the update unit is simulated, and what its signals did is drawn.

Every level and every payload in a diagram is read from Amaranth's simulator; only the names of
the payloads are given here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from amaranth.hdl import ClockDomain, Module
from amaranth.sim import Simulator

from upshift import layout, vectors
from upshift.config import UnitConfig
from upshift.vectors import Vector
from upshift_hw.unit import UpdateUnit
from upshift_sim.pysim import UnitDriver

CONFIG = UnitConfig(lanes=8, depth=64)
GRADIENT = 1 << 12


class _Probed(UpdateUnit):
    """The unit, with the parts whose inner signals are drawn."""

    def elaborate(self, platform: Any) -> Module:
        m = super().elaborate(platform)
        self.sequencer = m.submodules.sequencer
        self.memory = m.submodules.memory
        return m


@dataclass
class Plan:
    """What the surroundings of the unit do.

    Bursts are offered as early as possible. `access` maps clocks to payloads of host accesses,
    `bus` clocks to (address, write_enable, write_data), `taking` says when rows are taken.
    """

    clocks: int
    bursts: dict[str, Vector] = field(default_factory=dict)
    access: dict[int, int] = field(default_factory=dict)
    bus: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    before: Callable[[UnitDriver], Any] | None = None


Trace = dict[str, list[Any]]
"""Values by signal, one per clock."""


class _Stream:
    """A source that offers named payloads in order, each until it is taken."""

    def __init__(self, driver: UnitDriver, stream: Any, queue: list[tuple[str, int]]):
        self.driver, self.stream, self.queue = driver, stream, queue

    def offer(self) -> None:
        self.driver.offer(self.stream, self.queue[0][1] if self.queue else None)

    def sample(self) -> tuple[int, int, str | None]:
        """Return valid, ready and the name of what is offered; drop it if it is taken."""
        get = self.driver.context.get
        valid, ready = get(self.stream.valid), get(self.stream.ready)
        name = self.queue[0][0] if valid else None
        if valid and ready:
            self.queue.pop(0)
        return valid, ready, name


def record(plan: Plan) -> Trace:
    """Simulate a plan and return what the signals did."""
    unit = _Probed(CONFIG)
    top = Module()
    top.domains.sync = domain = ClockDomain()
    top.submodules.unit = unit
    trace: Trace = {}

    async def testbench(context: Any) -> None:
        driver = UnitDriver(unit, context, domain.rst)
        if plan.before:
            await plan.before(driver)
        await _record(plan, driver, unit, trace)

    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    # The sequencer says what it waited for a clock later.
    trace["waiting"] = [*trace["waiting"][1:], 0]
    return trace


async def _record(plan: Plan, driver: UnitDriver, unit: _Probed, trace: Trace) -> None:
    context = driver.context
    commands = [(name, driver.command(vector)) for name, vector in plan.bursts.items()]
    beats = [
        (f"{name}{n}", driver.beat(beat))
        for name, vector in plan.bursts.items()
        for n, beat in enumerate(vectors.beats(CONFIG, vector))
    ]
    sources = {
        "i_command": _Stream(driver, unit.i_command, commands),
        "i_gradients": _Stream(driver, unit.i_gradients, beats),
        "i_access": _Stream(driver, unit.i_access, []),
    }
    reports = [*plan.bursts]
    context.set(unit.o_report.ready, 1)
    context.set(unit.o_weights.ready, 1)
    for clock in range(plan.clocks):
        if clock in plan.access:
            row = layout.unpack(layout.access(CONFIG), plan.access[clock])["row"]
            sources["i_access"].queue.append((f"row {row}", plan.access[clock]))
        address, enable, data = plan.bus.get(clock, (None, 0, 0))
        context.set(unit.bus.address, address or 0)
        context.set(unit.bus.write_enable, enable)
        context.set(unit.bus.write_data, data)
        now: dict[str, Any] = {}
        for source in sources.values():
            source.offer()
        for name, source in sources.items():
            now[f"{name} valid"], now[f"{name} ready"], now[name] = source.sample()
        mask, row = context.get(unit.memory.write_mask), context.get(unit.memory.write_row)
        offered = context.get(unit.o_report.valid)
        now |= {
            "waiting": context.get(unit.sequencer.waiting),
            "weights written": _written(row, mask),
            "o_report valid": offered,
            "o_report": reports.pop(0) if offered else None,
            "o_weights valid": context.get(unit.o_weights.valid),
            "bus address": address,
            "bus read_data": f"{context.get(unit.bus.read_data):#x}"
            if clock - 1 in plan.bus
            else None,
            "bus write_enable": enable,
            "bus write_data": f"{data:#x}" if enable else None,
        }
        for name, value in now.items():
            trace.setdefault(name, []).append(value)
        await driver.tick()


def _written(row: int, mask: int) -> str | None:
    """Name the lanes of a row that are written, if not all are."""
    if not mask:
        return None
    low, high = (mask & -mask).bit_length() - 1, mask.bit_length() - 1
    return f"row {row}" if high - low + 1 == CONFIG.lanes else f"{row}[{high}:{low}]"


# -- drawing ------------------------------------------------------------------------------------

_LABEL, _ROW, _TOP = 150, 30, 34
_CELL = 44
_STYLE = """
text { font-family: Helvetica, Arial, sans-serif; font-size: 12px; fill: #1f2933; }
.name { font-family: Menlo, Consolas, "DejaVu Sans Mono", monospace; text-anchor: end; }
.payload { text-anchor: middle; font-size: 11px; }
.clock { text-anchor: middle; font-size: 11px; fill: #475569; }
.grid { stroke: #cbd5e1; stroke-dasharray: 2 4; }
.wave { fill: none; stroke: #334e68; stroke-width: 1.6; }
.bus { fill: #dcebfa; stroke: #334e68; stroke-width: 1.3; }
.mark { fill: #fdf1da; }
"""


def draw(
    trace: Trace, names: list[str], title: str, mark: str | None = None, cell: int = _CELL
) -> str:
    """Return an SVG with one row per signal; clocks in which `mark` is 1 are shaded.

    A clock is `cell` pixels wide.
    """
    clocks = len(next(iter(trace.values())))
    width, height = _LABEL + clocks * cell + 16, _TOP + (len(names) + 1) * _ROW + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8" '
        'fill="#fbfcfe" stroke="#cbd5e1"/>',
    ]
    for clock in range(clocks):
        x = _LABEL + clock * cell
        if mark and trace[mark][clock]:
            parts.append(
                f'<rect class="mark" x="{x}" y="{_TOP - 8}" width="{cell}" '
                f'height="{height - _TOP}"/>'
            )
        parts.append(f'<text class="clock" x="{x + cell / 2:g}" y="20">{clock}</text>')
        parts.append(f'<path class="grid" d="M{x} {_TOP - 8}V{height - 8}"/>')
    parts.append(_clock_row(clocks, cell))
    for number, name in enumerate(names, 1):
        y = _TOP + number * _ROW
        parts.append(f'<text class="name" x="{_LABEL - 12}" y="{y + 15}">{escape(name)}</text>')
        values = trace[name]
        bits = set(values) <= {0, 1}
        parts.append(_bit(values, y, cell) if bits else _bus(values, y, cell))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _clock_row(clocks: int, cell: int) -> str:
    high, low, half = _TOP + 3, _TOP + 21, cell // 2
    path = f"M{_LABEL} {low}" + "".join(
        f"V{high}h{half}V{low}h{cell - half}" for _ in range(clocks)
    )
    label = f'<text class="name" x="{_LABEL - 12}" y="{_TOP + 15}">clk</text>'
    return f'{label}<path class="wave" d="{path}"/>'


def _bit(values: list[int], y: int, cell: int) -> str:
    levels = [y + 3 if value else y + 21 for value in values]
    path = f"M{_LABEL} {levels[0]}" + "".join(f"V{level}h{cell}" for level in levels)
    return f'<path class="wave" d="{path}"/>'


def _bus(values: list[Any], y: int, cell: int) -> str:
    parts = []
    start = 0
    for clock in range(1, len(values) + 1):
        if clock < len(values) and values[clock] == values[start]:
            continue
        left, right = _LABEL + start * cell, _LABEL + clock * cell
        middle, value = y + 12, values[start]
        if value is None:
            parts.append(f'<path class="wave" d="M{left} {middle}H{right}"/>')
        else:
            parts.append(
                f'<path class="bus" d="M{left} {middle}l4 -9H{right - 4}l4 9l-4 9H{left + 4}z"/>'
                f'<text class="payload" x="{(left + right) / 2:g}" y="{middle + 4}">'
                f"{escape(str(value))}</text>"
            )
        start = clock
    return "".join(parts)


# -- the diagrams -------------------------------------------------------------------------------


def _burst(base: int, count: int) -> Vector:
    return vectors.update(base, [GRADIENT] * count, rate=1, resolution=12)


def back_to_back() -> Trace:
    """Record three beats, and two of the next burst right behind them."""
    return record(Plan(31, {"A": _burst(0, 24), "B": _burst(32, 16)}))


def hazard() -> Trace:
    """Record two bursts on one row, and two that share a row but no lane."""
    bursts = {"A": _burst(24, 8), "B": _burst(24, 8), "C": _burst(40, 4), "D": _burst(44, 4)}
    return record(Plan(33, bursts))


def host_access() -> Trace:
    """Record a host read that is offered while a burst is in progress."""
    read = layout.pack(layout.access(CONFIG), {"row": 2})
    return record(Plan(27, {"A": _burst(0, 24), "B": _burst(32, 16)}, access={7: read}))


def register_bus() -> Trace:
    """Record reads of three registers, and a write that clears an error."""

    async def refused(driver: UnitDriver) -> None:
        await driver.run([_burst(0, 8), vectors.update(0, [1], rate=0, resolution=17)])

    bus = {1: (0, 0, 0), 2: (0, 0, 0), 3: (5, 0, 0), 4: (5, 1, 2), 5: (5, 0, 0), 6: (7, 0, 0)}
    return record(Plan(9, bus=bus, before=refused))


_STREAMS = [
    "i_command valid",
    "i_command ready",
    "i_command",
    "i_gradients valid",
    "i_gradients ready",
    "i_gradients",
]


def images() -> dict[str, str]:
    """Return the SVG of every diagram by its file name."""
    end = ["weights written", "o_report valid", "o_report"]
    host = ["i_access valid", "i_access ready", "i_access", "o_weights valid"]
    bus = [f"bus {name}" for name in ("address", "read_data", "write_enable", "write_data")]
    return {
        "timing-bursts.svg": draw(
            back_to_back(), [*_STREAMS, *end], "A burst of three beats, and one of two behind it"
        ),
        "timing-hazard.svg": draw(
            hazard(),
            [*_STREAMS, "waiting", "weights written"],
            "A burst that waits for the one before it",
            mark="waiting",
        ),
        "timing-host.svg": draw(
            host_access(),
            [*_STREAMS[2:], "weights written", *host],
            "A host read that waits for a burst",
        ),
        "timing-registers.svg": draw(register_bus(), bus, "Register reads and one write"),
    }


def report_distance() -> int:
    """Return the clocks from the last beat of a burst to the clock that offers its report."""
    trace = back_to_back()
    names = zip(trace["i_gradients"], trace["i_gradients ready"], strict=True)
    last = max(n for n, (name, ready) in enumerate(names) if name == "A2" and ready)
    return trace["o_report"].index("A") - last
