"""Exact counts of each burst, gathered behind the pipeline and never overwritten.

A command reserves room for its report before it starts, so the pipeline never has to stop for
one: the counts of a burst fall into a queue that is known to have a free place. The queue is in
block RAM, where places cost nothing. There are more than are needed, so that the room that is
left may be told late, from registers alone.
"""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig
from upshift.formats import Float
from upshift_hw.delay import later
from upshift_hw.memory import Ram
from upshift_hw.ring import Places, Reader, Words
from upshift_hw.shapes import layout_of
from upshift_hw.tally import Tally

_EARLY = ("elements", "refusal")  # fields that are known when a command starts


def queued(config: UnitConfig) -> dict[str, data.StructLayout]:
    """Return what is queued of reports: what is known when a command starts, and the rest."""
    report = layout_of(layout.report(config)).members
    # What is always zero takes no room.
    absent = () if isinstance(config.gradient, Float) else ("nonfinite",)
    rest = [name for name in report if name not in (*_EARLY, *absent)]
    return {
        queue: data.StructLayout({name: report[name] for name in names})
        for queue, names in (("early", _EARLY), ("rest", rest))
    }


def _groups(bits: int) -> list[slice]:
    """Return the groups of bits of q_min that are compared in one clock, highest first."""
    return [slice(low, min(low + 2, bits)) for low in reversed(range(0, bits, 2))]


def _clocks(config: UnitConfig) -> int:
    """Return the clocks from a command's last beat to all that is reported of it."""
    width = len(Signal(layout_of(layout.report(config))["nonzero"].shape))
    counting = Tally.latency_of(config.lanes, width)
    return max(counting, len(_groups(layout.needed_bits(config) + 1)))


class ReportCollector(wiring.Component):
    """Add up what the lanes say, beat by beat, and queue one report per command.

    Parameters
    ----------
    config : UnitConfig
    quarter : int
        Reports that may be under way or waiting, behind the two that are read, before `free` may
        become low. One-beat bursts keep the full rate if there are as many as clocks from a
        command's start to the clock that gives its place back.
    ram : {"inferred", "dp16kd"}, optional
        How the queue is made. Left out, the platform decides.

    Attributes
    ----------
    quarter : int
        The same as above, but what the queue has. `free` becomes low when there are more, at the
        latest when there are twice as many.
    lag : int
        Clocks from a start to `free` that knows of it.
    margin : int
        Commands that may start though `free` is low, as they had begun to when it was not.

    Members
    -------
    started : In
        A command starts: reserve a place.
    elements, refusal : In
        What is known of it, in the clock after.
    free : Out
        Commands may start.
    valid, first, last : In
        A beat of a command has reached the write stage.
    nonzero, saturated : In
        One bit per lane, zero for lanes outside the burst.
    nonfinite : In
        The same, if gradients are floating-point.
    needed_valid, needed : In
        q_min of the beat.
    o : Out(stream)
        Reports in command order.
    """

    lag = 3  # clocks of `starts`, of the place, of `free`

    @staticmethod
    def latency(config: UnitConfig) -> int:
        """Return the clocks from a command's last beat until its place is given back."""
        return _clocks(config) + 3  # to complete, to be seen, and to be read

    def __init__(self, config: UnitConfig, *, quarter: int = 15, ram: Ram | None = None):
        self.config = config
        self._places = Places(quarter)
        self.quarter = self._places.quarter
        # What starts must not leave the quarter in which `free` became low.
        self.margin = self.quarter - self.lag
        self._ram = ram
        report = layout_of(layout.report(config))
        self._events = ["nonzero", "saturated"]
        if isinstance(config.gradient, Float):
            self._events.append("nonfinite")
        super().__init__(
            {name: In(config.lanes) for name in self._events}
            | {name: In(report[name].shape) for name in _EARLY}
            | {
                "started": In(1),
                "free": Out(1),
                "valid": In(1),
                "first": In(1),
                "last": In(1),
                "needed_valid": In(1),
                "needed": In(report["needed"].shape),
                "o": Out(stream.Signature(report)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        clocks = _clocks(self.config)
        first = self.valid & self.first
        found = {name: self._count(m, name, first, clocks) for name in self._events}
        found |= self._smallest(m, first, clocks)
        self._queue(m, found, complete=later(m, self.valid & self.last, clocks, "complete"))
        return m

    def _count(self, m, name, first, clocks):
        """Count the lanes of a burst."""
        m.submodules[f"{name}_tally"] = tally = Tally(self.config.lanes, len(self.o.payload[name]))
        m.d.comb += [
            tally.valid.eq(self.valid),
            tally.first.eq(first),
            tally.bits.eq(getattr(self, name)),
        ]
        return later(m, tally.count, clocks - tally.latency, f"{name}_count")

    def _smallest(self, m, first, clocks):
        """Find the smallest q_min of a burst: highest bits first, two more in each clock."""
        # No q_min is larger than any, and the sign counts the other way round.
        key = Cat(self.needed[:-1], ~self.needed[-1], ~self.needed_valid)
        groups = _groups(len(key))
        # What is known of a beat by its higher bits: it is less than all before, or no more.
        valid, less, tie = self.valid, first, 1
        parts = []
        for clock, group in enumerate(groups):
            bits = later(m, key[group], clock, f"key_{clock}")
            least = Signal(len(bits), name=f"least_{clock}", reset_less=True)
            below = Signal(name=f"below_{clock}")
            m.d.comb += below.eq(valid & (less | (tie & _below(bits, least))))
            with m.If(below):
                m.d.sync += least.eq(bits)
            parts.append(later(m, least, clocks - clock - 1, f"least_{clock}"))
            tie = later(m, tie & (bits == least), 1, f"tie_{clock}")
            less = later(m, below, 1, f"less_{clock}")
            valid = later(m, valid, 1, f"valid_{clock}")
        least = Cat(reversed(parts))
        return {
            "needed_valid": ~least[-1],
            "needed": Cat(least[:-2], ~least[-2]).as_signed(),
        }

    def _queue(self, m, found, complete):
        """Queue reports: what starts and what completes each has its place."""
        places = self._places
        started, completed = places.first("started"), places.first("completed")
        starts = Signal()
        m.submodules.reader = reader = Reader(places)
        words = {}
        events = {"early": (starts, started), "rest": (complete, completed)}
        for name, shape in queued(self.config).items():
            write, place = events[name]
            memory = Words(width=shape.size, places=places.bits, ram=self._ram)
            m.submodules[name] = memory
            words[name] = data.View(shape, memory.write_word)
            shown = data.View(shape, memory.word)
            m.d.comb += [
                memory.write.eq(write),
                memory.write_place.eq(place),
                memory.place.eq(reader.place),
                memory.advance.eq(reader.advance),
                *(self.o.payload[field].eq(shown[field]) for field in shape.members),
            ]
            with m.If(write):
                m.d.sync += place.eq(places.after(place))
        m.d.comb += [
            words["early"].elements.eq(self.elements),
            words["early"].refusal.eq(self.refusal),
            *(words["rest"][name].eq(value) for name, value in found.items()),
            reader.written.eq(completed),
            reader.ready.eq(self.o.ready),
            self.o.valid.eq(reader.valid),
        ]
        m.d.sync += [
            starts.eq(self.started),
            # With at most a quarter of the places in use, both are in one or in neighbours.
            self.free.eq(~places.opposite(started, reader.place)),
        ]


def _below(one, other):
    """Return whether a number of one or two bits is less than another, without a carry chain."""
    less = ~one[-1] & other[-1]
    return less if len(one) == 1 else less | ((one[-1] == other[-1]) & ~one[0] & other[0])
