"""Claims about the registers that count clocks."""

from __future__ import annotations

from functools import reduce
from operator import or_

from amaranth.hdl import Signal

from upshift.config import UnitConfig
from upshift.registers import BY_NAME
from upshift_hw.counters import Counters
from upshift_sim.formal.claims import Claims
from upshift_sim.formal.control import Control
from upshift_sim.formal.equation import named


def counters(config: UnitConfig) -> Claims:
    """Claim that the registers count what happens, clock by clock."""
    control = Control(config)
    claims, unit, datapath = control.claims, control.unit, control.datapath
    gradients, sequencer = unit.i_gradients, control.parts["sequencer"]
    transfer = control.passes("i_gradients")
    events = {
        "clocks": sequencer.counting,
        "beats": sequencer.taken,
        "stalls": sequencer.stalled,
        "waits": sequencer.waiting,
    }
    settles = _settles(control.parts["registers.counters"]) + 1  # a bus answers a clock later
    claims.clocks += settles
    counts = {name: control.count(event, name) for name, event in events.items()}
    for name, counted in counts.items():
        asked = claims.past(unit.bus.address == BY_NAME[name].address, 1)
        settled = ~reduce(or_, [claims.past(events[name], n + 1) for n in range(settles)])
        shown = named(claims, asked & settled, f"{name}_shown")
        claims.claim(name, ~shown | (unit.bus.read_data == counted))
        if name != "waits" or sequencer.distance > 1:
            claims.cover(name, shown & (counted == 2))

    # The sequencer says what it did a clock later.
    causes = (sequencer.taken, sequencer.stalled, sequencer.waiting)
    claims.claim("each clock has one cause", sum(causes) == sequencer.counting)
    claims.claim("what is taken has passed", sequencer.taken == claims.past(transfer, 1))
    held_up = named(claims, gradients.valid & ~gradients.ready, "held_up")
    claims.claim("a wait has its gradient", ~sequencer.waiting | claims.past(held_up, 1))
    inside = Signal()  # a burst has begun and not ended
    with control.m.If(datapath.valid):
        control.m.d.sync += inside.eq(~datapath.beat.last)
    claims.claim(
        "inside a burst every clock is accounted for",
        ~claims.past(inside, 1) | (sequencer.taken == ~(sequencer.stalled | sequencer.waiting)),
    )
    return claims


def counting(count: int, width: int) -> Claims:
    """Claim that counters are exact, but for what happened in the last clocks."""
    claims = Claims()
    unit = Counters(count, width)
    claims.add("unit", unit)
    events = claims.drive("events", unit.events)
    index = claims.constant(range(count), "index")
    claims.m.d.comb += unit.index.eq(index)
    settles = _settles(unit)
    claims.clocks = (1 << width) + 2 * settles
    event = named(claims, events.bit_select(index, 1), "event")
    counted = Signal(width)
    claims.m.d.sync += counted.eq(counted + event)
    late = named(claims, (counted - unit.value)[:width], "late")
    recent = sum(claims.past(event, n + 1) for n in range(settles))
    claims.claim("only recent events are missing", late <= recent)
    wrapped = Signal()
    with claims.m.If(counted.all() & event):
        claims.m.d.sync += wrapped.eq(1)
    claims.cover("wraps around", wrapped & (unit.value == 1))
    claims.cover("late", late == settles - 2)
    return claims


def _settles(counters: Counters) -> int:
    """Return after how many clocks an event is in what its counter shows."""
    return int(counters.count + 3)
