"""Words that wait in a ring of block RAM: each has its place, which is written and read once.

Places are numbered by a shift register with feedback and a Gray code of two bits on top of it.
Such numbers need no carries, and any order will do that is the same for all who count.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from upshift_hw import dp16kd
from upshift_hw.delay import later
from upshift_hw.families import is_ecp5
from upshift_hw.memory import Ram

_TAPS = {3: 2, 4: 3, 5: 3, 6: 5, 7: 6}
"""For some widths n, a power k that makes ``x^n + x^k + 1`` a primitive polynomial."""


class Places:
    """Places in a ring of four quarters.

    Parameters
    ----------
    quarter : int
        Places that a quarter has at least.

    Attributes
    ----------
    quarter : int
        Places that it has, one less than a power of two.
    bits : int
        Of a place.
    """

    def __init__(self, quarter: int):
        largest = (1 << max(_TAPS)) - 1
        if quarter > largest:
            raise ValueError(f"a quarter of {quarter} places is not allowed: at most {largest}")
        self._low = next(bits for bits in _TAPS if quarter < 1 << bits)
        self.quarter = (1 << self._low) - 1
        self.bits = self._low + 2

    def first(self, name: str) -> Signal:
        """Return a register for a place, with the first one in it."""
        return Signal(self.bits, name=name, init=1)

    def second(self, name: str) -> Signal:
        """Return a register for a place, with the one after the first in it."""
        return Signal(self.bits, name=name, init=2)

    def after(self, place):
        """Return the place after another."""
        low, a, b = place[: self._low], place[-2], place[-1]
        # The last of a quarter is the only one with but the highest bit.
        last = ~low[:-1].any()
        fed = low[-1] ^ low[_TAPS[self._low] - 1]
        return Cat(fed, low[:-1], (last & ~b) | (~last & a), (last & a) | (~last & b))

    def opposite(self, one, other):
        """Return whether two places are in opposite quarters."""
        return (one[-2] ^ other[-2]) & (one[-1] ^ other[-1])


class Words(wiring.Component):
    """Block RAM with an output register, as synthesis finds it or, on the ECP5, as placed blocks.

    A word that is read in the clock in which it is written may come out as anything.

    Parameters
    ----------
    width : int
        Bits of a word.
    places : int
        Bits of a place.
    ram : {"inferred", "dp16kd"}, optional
        How the memory is made. Left out, the platform decides.

    Members
    -------
    write, write_place, write_word : In
        Write a word.
    place : In
        Read it.
    advance : In
        Read now; otherwise `word` stays, and so does the one that was read and not shown.
    word : Out
        What was read at the last `advance` but one.
    """

    def __init__(self, *, width: int, places: int, ram: Ram | None = None):
        self._ram = ram
        super().__init__(
            {
                "write": In(1),
                "write_place": In(places),
                "write_word": In(width),
                "place": In(places),
                "advance": In(1),
                "word": Out(width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        ram = self._ram or ("dp16kd" if is_ecp5(platform) else "inferred")
        depth = 1 << len(self.place)
        if ram == "dp16kd":
            self._place(m, depth)
        else:
            self._describe(m, depth)
        return m

    def _describe(self, m, depth):
        """Describe a memory in which synthesis finds a block RAM; see `WeightMemory`."""
        memory = Memory(
            shape=len(self.word),
            depth=depth,
            init=[],
            attrs={"no_rw_check": 1, "ram_style": "block"},
        )
        m.submodules.memory = memory
        read, write = memory.read_port(domain="comb"), memory.write_port()
        latched = Signal.like(self.word, reset_less=True)
        word = Signal.like(self.word, reset_less=True)
        with m.If(self.advance):
            m.d.sync += [latched.eq(read.data), word.eq(latched)]
        m.d.comb += [
            write.en.eq(self.write),
            write.addr.eq(self.write_place),
            write.data.eq(self.write_word),
            read.addr.eq(self.place),
            self.word.eq(word),
        ]

    def _place(self, m, depth):
        bank = dp16kd.Bank(width=len(self.word), depth=depth, init=[], output_register=True)
        m.submodules.bank = bank
        m.d.comb += [
            bank.a_enable.eq(self.write),
            bank.a_address.eq(self.write_place),
            bank.a_data.eq(self.write_word),
            bank.b_enable.eq(self.advance),
            bank.b_advance.eq(self.advance),
            bank.b_address.eq(self.place),
            self.word.eq(bank.b_word),
        ]


class Reader(wiring.Component):
    """Read the words of a ring in order, each once it has been written, and offer them.

    One word per clock while they are taken as they come. Words pass the block RAM and its output
    register together, so two may have left their places and not been taken.

    Parameters
    ----------
    places : Places

    Attributes
    ----------
    latency : int
        Clocks from the write of a word to the clock that offers it.

    Members
    -------
    written : In
        The place after the last that was written; from the clock after its write.
    place, advance : Out
        To `Words`.
    valid : Out, ready : In
        A word is offered; it is taken.
    holds : Out
        Words have left their places and have not been taken.
    """

    latency = 4  # clocks of `written`, of `waiting`, of the block RAM, of its output register

    def __init__(self, places: Places):
        self._places = places
        super().__init__(
            {
                "written": In(places.bits),
                "place": Out(places.bits),
                "advance": Out(1),
                "valid": Out(1),
                "ready": In(1),
                "holds": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        places = self._places
        place = places.first("fetched")
        following = places.second("following")
        fetch, some, read = Signal(name="fetch"), Signal(name="some"), Signal(name="read")
        with m.If(fetch):
            m.d.sync += [place.eq(following), following.eq(places.after(following))]
        waiting = [
            later(m, self.written != one, 1, f"waiting_{n}")
            for n, one in enumerate((following, place))
        ]
        # The same as `valid`, near the places instead of the memory. At reset, when nothing waits,
        # it differs, so that synthesis does not merge them.
        offers = Signal(name="offers", init=1)
        with m.If(self.advance):
            m.d.sync += [read.eq(some), self.valid.eq(read), offers.eq(read)]
        m.d.comb += [
            self.place.eq(place),
            self.advance.eq(~self.valid | self.ready),
            # Whether there was a word in the clock before, at the place that is read now. What is
            # read in the clock of its write is not used.
            some.eq(Mux(later(m, fetch, 1, "fetch"), *waiting)),
            fetch.eq(some & (~offers | self.ready)),
            self.holds.eq(read | self.valid),
        ]
        return m
