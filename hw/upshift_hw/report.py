"""Exact counts of each burst, gathered behind the pipeline and never overwritten.

A command reserves room for its report before it starts, so the pipeline never has to stop for
one: the counts of a burst fall into a queue that is known to have a free place.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig
from upshift.formats import Float
from upshift_hw.delay import later
from upshift_hw.shapes import layout_of

_EARLY = ("elements", "refusal")  # fields that are known when a command starts
_GROUP = 8  # lanes that are counted in one clock


def popcount(bits):
    """Return the number of set bits as a balanced tree of adders."""
    bits = list(bits)
    while len(bits) > 1:
        pairs = [a + b for a, b in zip(bits[::2], bits[1::2], strict=False)]
        bits = pairs + bits[len(pairs) * 2 :]
    return bits[0]


def _counting(config: UnitConfig) -> int:
    """Return the clocks in which lanes are counted: two where there are many."""
    return 1 if config.lanes <= _GROUP else 2


class ReportCollector(wiring.Component):
    """Add up what the lanes say, beat by beat, and queue one report per command.

    Parameters
    ----------
    config : UnitConfig
    slots : int
        Reports that may be under way or waiting behind the one that is offered, a power of two.
        One-beat bursts keep the full rate if there are as many as clocks from a command's start to
        the clock that may reserve its slot again.

    Members
    -------
    started : In
        A command starts: reserve a slot.
    elements, refusal : In
        What is known of it, in the clock after.
    free : Out
        Another command may start in the next clock.
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

    @staticmethod
    def latency(config: UnitConfig) -> int:
        """Return the clocks from a command's last beat until its slot may be reserved again."""
        return _counting(config) + 5  # two to add, one each to complete, fetch and give back

    def __init__(self, config: UnitConfig, *, slots: int = 16):
        self.config = config
        self.slots = slots
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
        clocks = _counting(self.config)
        valid = later(m, self.valid, clocks, "valid")
        first = later(m, self.first, clocks, "first")
        last = later(m, self.last, clocks, "last")
        found = {
            name: self._add(m, name, self._count(m, name), valid, first) for name in self._events
        }
        found |= self._smallest(m, clocks, valid, first)
        self._queue(m, found, complete=later(m, valid & last, 2, "complete"))
        return m

    def _count(self, m, name):
        """Count the lanes of a beat."""
        lanes = getattr(self, name)
        groups = [
            later(m, popcount(lanes[at : at + _GROUP]), 1, f"{name}_from_{at}")
            for at in range(0, len(lanes), _GROUP)
        ]
        return groups[0] if len(groups) == 1 else later(m, sum(groups), 1, f"{name}_of_beat")

    def _add(self, m, name, count, valid, first):
        """Add a beat to its burst, which takes two clocks: low bits first, then their carries."""
        low = Signal(len(count), name=f"{name}_low")
        carry = Signal(name=f"{name}_carry")
        width = len(self.o.payload[name])
        high = Signal(max(width - len(low), 0), name=f"{name}_high")
        with m.If(valid):
            m.d.sync += Cat(low, carry).eq(Mux(first, 0, low) + count)
        was_valid = later(m, valid, 1, f"{name}_valid")
        was_first = later(m, first, 1, f"{name}_first")
        with m.If(was_valid):
            with m.If(was_first):
                m.d.sync += high.eq(0)  # one beat alone has no carry
            with m.Else():
                m.d.sync += high.eq(high + carry)
        return Cat(later(m, low, 1, f"{name}_low"), high)[:width]

    def _smallest(self, m, clocks, valid, first):
        """Find the smallest q_min of a burst: upper bits first, lower ones a clock later."""
        needed = self.needed
        # No q_min is larger than any, and the sign counts the other way round.
        key = Cat(needed[:-1], ~needed[-1], ~self.needed_valid)
        key = later(m, key, clocks, "key")
        half = len(key) // 2
        upper, upper_least = key[half:], Signal(len(key) - half)
        lower, lower_least = later(m, key[:half], 1, "lower"), Signal(half)
        less, tie = Signal(), Signal()
        m.d.comb += less.eq(valid & (first | (upper < upper_least)))
        m.d.sync += tie.eq(valid & (upper == upper_least))
        with m.If(less):
            m.d.sync += upper_least.eq(upper)
        with m.If(later(m, less, 1, "less") | (tie & (lower < lower_least))):
            m.d.sync += lower_least.eq(lower)
        least = Cat(lower_least, later(m, upper_least, 1, "upper_least"))
        return {
            "needed_valid": ~least[-1],
            "needed": Cat(least[:-2], ~least[-2]).as_signed(),
        }

    def _queue(self, m, found, complete):
        """Queue reports: what starts and what completes each has its place and its pointer."""
        report = self.o.payload.shape()
        early = data.StructLayout({name: report[name].shape for name in _EARLY})
        rest = data.StructLayout({name: report[name].shape for name in found})
        started = Signal(range(self.slots))
        completed, fetched = Signal(range(2 * self.slots)), Signal(range(2 * self.slots))
        # The slots that are reserved, but for a start in the clock before; one that is given back
        # counts a clock later as well.
        reserved, starts, leaves = Signal(range(self.slots + 1)), Signal(), Signal()

        # A slot is written only once it has been fetched, never in a clock that reads it.
        fetch = Signal()
        words = {}
        for name, shape, enable, place in (
            ("early", early, starts, started),
            ("rest", rest, complete, completed),
        ):
            memory = Memory(shape=shape, depth=self.slots, init=[])
            m.submodules[name] = memory
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.en.eq(enable),
                write.addr.eq(place),
                read.en.eq(~self.o.valid | self.o.ready),
                read.addr.eq(fetched),
            ]
            m.d.sync += place.eq(place + enable)
            words[name] = write.data
            for field in shape.members:
                m.d.comb += self.o.payload[field].eq(read.data[field])
        m.d.comb += [
            words["early"].elements.eq(self.elements),
            words["early"].refusal.eq(self.refusal),
            *(words["rest"][name].eq(value) for name, value in found.items()),
            fetch.eq((completed != fetched) & (~self.o.valid | self.o.ready)),
        ]
        # What is there after this clock is compared without waiting for the sum.
        up, down = starts & ~leaves, leaves & ~starts
        none_left = Mux(up, reserved == self.slots - 1, reserved[-1] & ~down)
        one_left = Mux(
            up, reserved == self.slots - 2, Mux(down, reserved[-1], reserved == self.slots - 1)
        )
        m.d.comb += self.free.eq(~(none_left | (self.started & one_left)))
        m.d.sync += [
            fetched.eq(fetched + fetch),
            starts.eq(self.started),
            leaves.eq(fetch),
            reserved.eq(reserved + starts - leaves),
            self.o.valid.eq(fetch | (self.o.valid & ~self.o.ready)),
        ]
