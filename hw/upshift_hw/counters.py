"""Wide counters of single clocks, for little logic: one adder goes round.

Each counter is a fast part of a few bits and a wide part. The fast part notes when it overflows;
an adder visits the wide parts in turn, and each comes by once before its fast part can overflow
again. What a counter shows is written down at each visit.
"""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from upshift_hw.delay import later


class Counters(wiring.Component):
    """Count events, each once per clock at most.

    A counter shows what it had counted three clocks and up to a round of all counters before.

    Parameters
    ----------
    count : int
        Number of counters, a power of two.
    width : int
        Bits of each; they wrap around.

    Members
    -------
    events : In
        One bit per counter.
    index : In
        Counter to show.
    value : Out
        What it shows, in the same clock.
    """

    def __init__(self, count: int, width: int):
        self.count = count
        self.width = width
        super().__init__({"events": In(count), "index": In(range(count)), "value": Out(width)})

    def elaborate(self, platform):
        m = Module()
        turn = Signal(range(self.count))
        m.d.sync += turn.eq(turn + 1)

        fast_bits = ceil_log2(self.count)
        fast, overflowed = [], []
        for n, event in enumerate(self.events):
            seen = Signal(name=f"event_{n}")
            value = Signal(fast_bits, name=f"fast_{n}")
            flag = Signal(name=f"overflowed_{n}")
            m.d.sync += [
                seen.eq(event),
                value.eq(value + seen),
                flag.eq((flag & (turn != n)) | (seen & value.all())),
            ]
            fast.append(value)
            overflowed.append(flag)

        # The wide part whose turn it is stands last.
        wide = [Signal(self.width - fast_bits, name=f"wide_{n}") for n in range(self.count)]
        carry = Signal()
        m.d.sync += [
            carry.eq(Array(overflowed)[turn]),
            Cat(wide[1:]).eq(Cat(wide[:-1])),
            wide[0].eq(wide[-1] + carry),
        ]
        visited = later(m, Array(fast)[turn], 2, "visited")

        # No reset reaches what is written down: until each has been visited, zero is shown.
        fresh = Signal()
        with m.If(turn.all()):
            m.d.sync += fresh.eq(1)
        shown = Memory(shape=self.width, depth=self.count, init=[], attrs={"no_rw_check": 1})
        m.submodules.shown = shown
        write, read = shown.write_port(), shown.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(1),
            write.addr.eq(turn - 2),
            write.data.eq(Cat(visited, wide[0])),
            read.addr.eq(self.index),
            self.value.eq(Mux(fresh, read.data, 0)),
        ]
        return m
