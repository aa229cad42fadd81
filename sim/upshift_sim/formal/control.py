"""Claims about the control of a whole unit, whatever its lanes compute.

The components that calculate are cut out: their outputs may be anything in every clock. What
remains is watched from outside, at the streams, and where control meets the datapath. Instead of
a queue of expectations, one command, one weight and one beat are picked at will and followed
through the unit; what holds for any one of them holds for all.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Mux, Signal, Value

from upshift import layout
from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift.layout import Operation
from upshift.report import Refusal
from upshift_hw.report import ReportCollector
from upshift_hw.shapes import layout_of
from upshift_hw.units import unit_of
from upshift_sim.formal.claims import Claims
from upshift_sim.formal.equation import named

_CUT = ("datapath.align*", "datapath.lane*", "datapath.needed_resolution")
_COUNT = 5  # bits of numbers of commands and beats; no proof has as many clocks


class Control:
    """A unit whose surroundings are free, and one of its commands, followed.

    Attributes
    ----------
    claims : Claims
    m : Module
    unit : UpdateUnit or StreamedUnit
    parts : dict
        Components of the unit by path.
    datapath : Datapath
    inputs, outputs : dict
        Streams by name.
    taken : Signal
        Commands taken so far.
    chosen : Signal
        Number of the command that is followed, a constant.
    command : Signal
        The command that is followed, once `taken` exceeds `chosen`.
    refusal : Signal
        Why it must be refused.
    entered : Signal
        Commands whose last beat has entered the datapath.
    entering : Signal
        A beat of the command that is followed enters the datapath in this clock.
    """

    def __init__(self, config: UnitConfig):
        self.config = config
        self.claims = claims = Claims()
        self.m = claims.m
        self.unit = unit = unit_of(config)
        self.parts = claims.add("unit", unit, cut=_CUT)
        self.datapath = self.parts["datapath"]
        # Two beats that wait for one another, time to get there, and to see what becomes of them.
        distance = self.datapath.latency + 1 - self.datapath.read_stage
        claims.clocks = 2 * distance + 4 + self.datapath.latency
        names = [name for name in unit.signature.members if name[:2] in ("i_", "o_")]
        self.inputs = {name: getattr(unit, name) for name in names if name.startswith("i_")}
        self.outputs = {name: getattr(unit, name) for name in names if name.startswith("o_")}
        for name, stream in self.inputs.items():
            claims.drive(f"{name}_valid", stream.valid)
            claims.drive(f"{name}_payload", stream.payload)
        for name, stream in self.outputs.items():
            claims.drive(f"{name}_ready", stream.ready)
        for name in ("address", "write_enable", "write_data"):
            claims.drive(name, getattr(unit.bus, name))
        self._follow()

    def count(self, event: Any, name: str) -> Any:
        """Return how often something happened before this clock."""
        counter = Signal(_COUNT, name=name)
        self.m.d.sync += counter.eq(counter + event)
        return counter

    def passes(self, name: str) -> Any:
        """Return whether a stream passes something on in this clock."""
        stream = getattr(self.unit, name)
        return stream.valid & stream.ready

    def asks_for_beats(self) -> Any:
        """Return whether the command that is followed takes beats from the stream."""
        return (self.command.operation == Operation.UPDATE) & (self.command.count != 0)

    def _follow(self) -> None:
        config, m = self.config, self.m
        offered = self.unit.i_command.payload
        take = self.passes("i_command")
        floor = Signal.like(offered.resolution)
        self.taken = self.count(take, "taken")
        self.chosen = self.claims.constant(_COUNT, "command")
        self.command = Signal(layout_of(layout.command(config)))
        self.refusal = Signal(len(Refusal))
        refusal = named(self.claims, _refusal(config, offered, floor), "refusal_now")
        with m.If(take):
            with m.If((offered.operation == Operation.RAISE) & ~refusal.any()):
                m.d.sync += floor.eq(offered.resolution)
            with m.If(self.taken == self.chosen):
                m.d.sync += [self.command.eq(offered), self.refusal.eq(refusal)]

        beat = self.datapath.beat
        self.entered = self.count(self.datapath.valid & beat.last, "entered")
        mine = self.datapath.valid & (self.entered == self.chosen)
        self.entering = named(self.claims, mine, "entering")


def _refusal(config: UnitConfig, command: Any, floor: Any) -> Any:
    """Return why a command must be refused."""
    update = command.operation == Operation.UPDATE
    some = command.count != 0
    causes = {
        Refusal.FLOOR: command.resolution < floor,
        Refusal.FRACTION: command.resolution > config.weight.fraction,
        Refusal.RATE: update & (command.rate > config.max_rate),
        Refusal.COUNT: update & ~some,
        Refusal.RANGE: update & some & (command.base + command.count > config.depth),
    }
    return reduce(or_, [Mux(present, int(cause), 0) for cause, present in causes.items()])


def stream(config: UnitConfig, name: str, *, complete: bool) -> Claims:
    """Claim that what a stream offers stays as it is until it is taken."""
    control = Control(config)
    claims, offered = control.claims, control.outputs[name]
    if complete:
        claims.clocks = 1
    waits = named(claims, claims.past(offered.valid & ~offered.ready, 1), "waits")
    payload = Value.cast(offered.payload)
    claims.claim("stays valid", ~waits | offered.valid)
    claims.claim("keeps its payload", ~waits | (payload == claims.past(payload, 1)))
    claims.cover("waits", waits)
    return claims


def order(config: UnitConfig) -> Claims:
    """Claim that no beat asks for a weight in flight, and that each beat is written once."""
    control = Control(config)
    claims, datapath = control.claims, control.datapath
    row = claims.constant(layout.row_bits(config), "row")
    lane = claims.constant(range(config.lanes), "lane")
    claims.assume("the lane exists", lane < config.lanes)

    def here(where: Any, mask: Any) -> Any:
        return (where == row) & mask.bit_select(lane, 1)

    beat = datapath.beat
    starts = named(claims, datapath.valid & here(beat.row, beat.mask), "starts")
    ages = [starts]
    for _ in range(datapath.latency):
        ages.append(claims.past(ages[-1], 1))
    # The write of one beat must be over when the next one asks for the row.
    distance = datapath.latency + 1 - datapath.read_stage
    earlier = reduce(or_, ages[1:distance])
    claims.claim("beats keep their distance", ~starts | ~earlier)
    written = here(datapath.write_row, datapath.write_mask)
    claims.claim("each beat is written once", written == ages[-1])
    gradients = control.unit.i_gradients
    claims.cover("waits", gradients.valid & ~gradients.ready & earlier)
    claims.cover("follows at once", starts & ages[distance])
    return claims


def beats(config: UnitConfig) -> Claims:
    """Claim that commands become the beats that they ask for, in order, with their gradients."""
    control = Control(config)
    claims, m, lanes = control.claims, control.m, config.lanes
    claims.clocks -= control.datapath.latency  # beats are seen when they enter
    command, datapath, beat = control.command, control.datapath, control.datapath.beat
    gradients = control.unit.i_gradients
    transfer = control.passes("i_gradients")
    asks = named(claims, control.asks_for_beats(), "asks")
    accepted = ~control.refusal.any()

    position = Signal(len(command.count) + 1)
    with m.If(datapath.valid):
        m.d.sync += position.eq(Mux(beat.last, 0, position + 1))
    asked = Mux(asks, (command.base % lanes + command.count + lanes - 1) // lanes, 1)
    row = command.base // lanes + position

    def claim(name: str, value: Any) -> None:
        claims.claim(name, ~control.entering | value)

    claim("only commands that were taken", control.taken > control.chosen)
    claim("first", beat.first == (position == 0))
    claim("last", beat.last == (position == asked - 1))
    claim("row", ~beat.mask.any() | (beat.row == row))
    for lane in range(lanes):
        address = row * lanes + lane
        inside = (address >= command.base) & (address < command.base + command.count)
        claim(f"lane {lane}", beat.mask[lane] == (asks & accepted & inside))
        words = gradients.payload[lane] == datapath.gradients[lane]
        claim(f"gradient {lane}", ~beat.mask[lane] | words)
    claim("refusal", beat.refusal == control.refusal)
    claim("rate", ~accepted | (datapath.rate == command.rate))
    claim("resolution", ~accepted | (datapath.resolution == command.resolution))
    claim("takes gradients", transfer == asks)
    claims.claim("no gradient beat is lost", ~transfer | datapath.valid)

    claims.cover("empty", ~datapath.valid & (control.entered == 2))
    claims.cover("stalled", ~gradients.valid & (position == 1))
    claims.cover("refused", control.entering & control.refusal.any() & asks)
    claims.cover("back to back", control.entering & claims.past(datapath.valid & beat.last, 1))
    return claims


def memory(config: UnitConfig) -> Claims:
    """Claim that every beat reads what the beats and accesses before it wrote."""
    control = Control(config)
    claims, m, unit, datapath = control.claims, control.m, control.unit, control.datapath
    row = claims.constant(layout.row_bits(config), "row")
    lane = claims.constant(range(config.lanes), "lane")
    claims.assume("the row exists", row < config.rows)
    claims.assume("the lane exists", lane < config.lanes)
    access = unit.i_access.payload

    def here(where: Any, mask: Any) -> Any:
        return (where == row) & mask.bit_select(lane, 1)

    beat = datapath.beat
    starts = named(claims, datapath.valid & here(beat.row, beat.mask), "starts")
    writes = named(claims, here(datapath.write_row, datapath.write_mask), "writes")
    hosts = named(claims, control.passes("i_access"), "hosts")
    latest = Signal(config.weight.width)
    known = Signal()  # nobody knows what a memory holds at first
    with m.If(writes):
        m.d.sync += [latest.eq(datapath.new_weights[lane]), known.eq(1)]
    with m.If(hosts & access.write & here(access.row, access.mask)):
        word = Value.cast(access.weights).word_select(lane, config.weight.width)
        m.d.sync += [latest.eq(word), known.eq(1)]
    under_way = [starts]
    for _ in range(datapath.latency):
        under_way.append(claims.past(under_way[-1], 1))
    claims.claim("no host meanwhile", ~hosts | ~reduce(or_, under_way))
    reads = named(claims, claims.past(starts, datapath.weights_stage), "reads")
    read = datapath.weights[lane].as_unsigned()
    claims.claim("reads the latest", ~(reads & known) | (read == latest))
    host_reads = hosts & ~access.write & (access.row == row)
    asked = claims.past(
        named(claims, host_reads, "host_reads"), 1 + control.parts["memory"].latency
    )
    offered = unit.o_weights.payload[lane].as_unsigned()
    claims.claim("host is answered", ~asked | unit.o_weights.valid)
    claims.claim("host reads the latest", ~(asked & known) | (offered == latest))

    again = Signal()
    m.d.sync += again.eq(again | writes)
    claims.cover("read what was written", reads & again & (latest != 0))
    claims.cover("host reads what was written", asked & again & (latest != 0))
    claims.cover("host writes after a burst", hosts & access.write & again)
    return claims


def reports(config: UnitConfig) -> Claims:
    """Claim that each command has one report, in order, with exact counts."""
    control = Control(config)
    claims, m, datapath, parts = control.claims, control.m, control.datapath, control.parts
    # Until a second report is offered: counting takes longer than a short pipeline.
    claims.clocks = max(claims.clocks + 4, 23)
    report = control.unit.o_report
    reported = control.count(control.passes("o_report"), "reported")
    totals = {}

    def total(name: str, clocks: int, flags: list[Any]) -> None:
        mask = claims.past(datapath.beat.mask, clocks)
        for lane, flag in enumerate(flags):
            # Claimed of the datapath: a lane outside the burst has nothing to say.
            claims.assume(f"{name} {lane} is of the burst", mask[lane] | ~flag)
        totals[name] = counter = Signal(len(report.payload[name]), name=f"total_{name}")
        with m.If(claims.past(control.entering, clocks)):
            m.d.sync += counter.eq(counter + sum(flags))

    lanes = range(config.lanes)
    late = parts["datapath.lane0"].changed - parts["datapath.lane0"].latency
    for name in ("nonzero", "saturated"):
        flags = [getattr(parts[f"datapath.lane{lane}"], name) for lane in lanes]
        total(name, datapath.latency + late, flags)
    if not isinstance(config.gradient, Fixed):
        aligned = [parts[f"datapath.align{lane}"] for lane in lanes]
        total("nonfinite", 1 + aligned[0].latency, [part.nonfinite for part in aligned])

    found = parts["datapath.needed_resolution"]
    some, least = Signal(), Signal.like(found.needed)
    # The gateware's q_min is zero where there is none.
    claims.assume("no q_min is zero", found.valid | (found.needed == 0))
    with m.If(claims.past(control.entering, 1 + found.latency) & found.valid):
        m.d.sync += some.eq(1)
        with m.If(~some | (found.needed < least)):
            m.d.sync += least.eq(found.needed)

    asks = control.asks_for_beats()
    elements = Mux(asks & ~control.refusal.any(), control.command.count, 0)
    mine = named(claims, report.valid & (reported == control.chosen), "mine")
    claims.claim("no report of nobody", ~mine | (control.entered > control.chosen))
    claims.claim("refusal", ~mine | (report.payload.refusal == control.refusal))
    claims.claim("elements", ~mine | (report.payload.elements == elements))
    for name, counter in totals.items():
        claims.claim(name, ~mine | (report.payload[name] == counter))
    claims.claim("needed valid", ~mine | (report.payload.needed_valid == some))
    claims.claim("needed", ~(mine & some) | (report.payload.needed == least))
    claims.cover("a refusal", mine & control.refusal.any() & asks)
    claims.cover("two beats", mine & (elements > config.lanes) & some)
    claims.cover("second report", mine & (control.chosen == 1) & (elements != 0))
    return claims


def room(config: UnitConfig) -> Claims:
    """Claim that a command starts only where a clock before there was room for its report."""
    control = Control(config)
    claims, datapath = control.claims, control.datapath
    started = named(claims, datapath.started, "started")
    claims.claim("only where there is room", ~started | claims.past(datapath.free, 1))
    claims.cover("starts", started)
    return claims


def queue(config: UnitConfig) -> Claims:
    """Claim that no report is lost, if commands start within the margin of their queue."""
    claims = Claims()
    m, collector = claims.m, ReportCollector(config, quarter=1)
    claims.clocks = 5 * collector.quarter
    claims.add("collector", collector, cut=("*_tally",))
    for name in ("started", "elements", "valid", "first", "last", "needed_valid", "needed"):
        claims.drive(name, getattr(collector, name))
    claims.drive("ready", collector.o.ready)

    def count(event: Any, name: str) -> Any:
        counter = Signal(range(claims.clocks + 1), name=name)
        m.d.sync += counter.eq(counter + event)
        return counter

    report = collector.o
    free = [named(claims, collector.free, "free")]
    for _ in range(collector.margin):
        free.append(claims.past(free[-1], 1))
    claims.assume("starts in time", ~collector.started | reduce(or_, free))
    started = count(collector.started, "starts")
    completed = count(collector.valid & collector.last, "completed")
    claims.assume("completes what started", ~collector.valid | (completed != started))
    reported = count(report.valid & report.ready, "reported")
    under_way = named(claims, (started - reported)[: len(started)], "under_way")
    # Two reports have left their places.
    claims.claim("room", under_way <= 3 * collector.quarter + 1)
    claims.cover("full", under_way == 3 * collector.quarter + 1)
    return claims


def progress(config: UnitConfig) -> Claims:
    """Claim that nothing that is due is long in coming, once nobody holds the unit up.

    Commands have so many beats and no more, so all that were taken are finished some day.
    """
    control = Control(config)
    claims, m, datapath = control.claims, control.m, control.datapath
    calm = claims.free(1, "calm")
    claims.assume("calm lasts", ~claims.past(calm, 1) | calm)
    for name, each in control.inputs.items():
        offers = name in ("i_gradients", "i_weights")
        claims.assume(f"{name} is calm", ~calm | (each.valid == int(offers)))
    for name, each in control.outputs.items():
        claims.assume(f"{name} is taken", ~calm | each.ready)
    beats_due = named(claims, control.taken != control.entered, "beats_due")
    passes = control.passes("o_report")
    reports_due = named(claims, control.taken != control.count(passes, "reported"), "reports_due")
    awaited = {
        "beat": beats_due & ~datapath.valid,
        "report": ~beats_due & reports_due & ~passes,
        "rest": ~reports_due & control.parts["registers"].busy,
    }
    if config.memory == "streamed":
        rows_due = control.count(control.passes("i_weights"), "rows_taken") != control.count(
            control.passes("o_weights"), "rows_given"
        )
        awaited["row"] = ~beats_due & rows_due & ~control.passes("o_weights")
    # A report waits until its last beat has gone all the way and was counted, ten clocks at most.
    longest = datapath.latency + 10
    waits = {}
    for name, waiting in awaited.items():
        waits[name] = clocks = Signal(range(longest + 2), name=f"for_{name}")
        m.d.sync += clocks.eq(Mux(calm & waiting, clocks + (clocks <= longest), 0))
        claims.claim(f"{name} comes", clocks <= longest)
    # After 2P + 4 clocks, in which anything may happen, there is time for the longest wait.
    claims.clocks += longest - datapath.latency
    if config.memory == "resident":
        # A beat that waits for one before it comes a distance later.
        claims.cover("waits for a beat", waits["beat"] == control.parts["sequencer"].distance - 1)
    claims.cover("waits for a report", waits["report"] == datapath.latency)
    claims.cover("two commands in line", calm & (control.taken - control.entered == 2))
    claims.cover("all is done", calm & (control.taken == 2) & ~reports_due)
    return claims


def rows(config: UnitConfig) -> Claims:
    """Claim that a streamed unit gives back one row for each that it takes, in order."""
    control = Control(config)
    claims, m, unit, datapath = control.claims, control.m, control.unit, control.datapath
    claims.clocks += unit.latency - datapath.latency  # until rows have passed their queue
    index = claims.constant(_COUNT, "row")
    transfer = control.passes("i_weights")
    words = Value.cast(unit.i_weights.payload)
    taken = control.count(transfer, "rows_taken")
    given = control.count(control.passes("o_weights"), "rows_given")
    beat = datapath.valid & control.passes("i_gradients")
    claims.claim("a row with each gradient beat", transfer == beat)
    claims.claim(
        "rows as they came",
        ~claims.past(transfer, datapath.weights_stage)
        | (Value.cast(datapath.weights) == claims.past(words, datapath.weights_stage)),
    )
    mine = claims.past(transfer & (taken == index), datapath.latency)
    result, known = Signal(len(words)), Signal()
    with m.If(mine):
        m.d.sync += [result.eq(Value.cast(datapath.new_weights)), known.eq(1)]
    leaving = named(claims, unit.o_weights.valid & (given == index), "leaving")
    claims.claim("no row of nobody", ~leaving | known)
    claims.claim("rows in order", ~leaving | (Value.cast(unit.o_weights.payload) == result))
    claims.cover("third row", leaving & (index == 2))
    claims.cover("held up", unit.o_weights.valid & ~unit.o_weights.ready & (given == 1))
    return claims
