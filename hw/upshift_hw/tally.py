"""Counts of set bits, many in each clock, added up over a burst.

There is one adder of a bit or two behind each register and no carry chain: what is found of a
place in one clock goes to the next higher place in the clock after it.
"""

from functools import reduce
from operator import and_, xor

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from upshift_hw.delay import later

_GROUP = 3  # bits that a carry passes in one clock


class Tally(wiring.Component):
    """Count the set bits of each burst's beats.

    Throughput one beat per clock.

    Parameters
    ----------
    lanes : int
        Bits of a beat.
    width : int
        Bits of a count, which no burst exceeds; enough for `lanes`.

    Attributes
    ----------
    latency : int
        Clocks from a burst's last beat to its count.

    Members
    -------
    valid, first : In
        There is a beat; it is the first of its burst, which must be valid as well.
    bits : In
        What is counted of the beat; anything without one.
    count : Out
        Counted so far; complete for one clock at least.
    """

    @staticmethod
    def latency_of(lanes: int, width: int) -> int:
        """Return the latency of a tally."""
        low = lanes.bit_length()
        return _levels(lanes) + low - (low - width) // _GROUP

    def __init__(self, lanes: int, width: int):
        self._levels = _levels(lanes)
        self._low = lanes.bit_length()  # no beat carries into a place above these
        self.latency = self.latency_of(lanes, width)
        super().__init__(
            {"valid": In(1), "first": In(1), "bits": In(lanes), "count": Out(width)},
        )

    def elaborate(self, platform):
        m = Module()
        columns = [list(self.bits)]
        for _ in range(self._levels):
            columns = _add(columns, lambda *bits: _adder(m, bits), lambda bit: _register(m, bit))
        columns += [[] for _ in range(self._low - len(columns))]
        valid = later(m, self.valid, self._levels, "valid")
        first = later(m, self.first, self._levels, "first")
        parts, carry = [], []
        for place, column in enumerate(columns):
            bits = [later(m, bit, place, f"bit_{place}") for bit in column] + carry
            total = Signal(name=f"total_{place}", reset_less=True)
            old = total & ~first
            with m.If(valid):
                m.d.sync += total.eq(reduce(xor, bits, old))
            carry = [_register(m, _carry([old, *bits]))]
            parts.append(total)
            valid, first = later(m, valid, 1, "valid"), later(m, first, 1, "first")
        for low in range(self._low, len(self.count), _GROUP):
            total = Signal(min(_GROUP, len(self.count) - low), name=f"total_{low}", reset_less=True)
            with m.If(first):
                m.d.sync += total.eq(0)
            with m.Elif(valid):
                m.d.sync += total.eq(counted(total, *carry))
            carry = [_register(m, carry[0] & total.all())]
            parts.append(total)
            valid, first = later(m, valid, 1, "valid"), later(m, first, 1, "first")
        late = [later(m, total, len(parts) - 1 - n, f"late_{n}") for n, total in enumerate(parts)]
        m.d.comb += self.count.eq(Cat(late))
        return m


def counted(number, carry):
    """Return a number to which a carry is added, without a carry chain."""
    return Cat(bit ^ (carry & number[:place].all()) for place, bit in enumerate(number))


def _levels(lanes):
    """Return the clocks in which the bits of a beat are added before they are added to a count."""
    levels, columns = 0, [[None] * lanes]
    while _is_high(columns):
        columns = _add(columns, lambda *bits: (None, None), lambda bit: bit)
        levels += 1
    return levels


def _is_high(columns):
    """Return whether there is more than an adder takes beside the total and a carry."""
    return len(columns[0]) > 2 or any(len(column) > 1 for column in columns[1:])


def _add(columns, adder, register):
    """Return the columns of a clock later: threes are added, or else twos above the first."""
    size = 3 if any(len(column) >= 3 for column in columns) else 2
    result = [[] for _ in range(len(columns) + 1)]
    for place, column in enumerate(columns):
        whole = 0 if place == 0 and size == 2 else len(column) // size * size
        for at in range(0, whole, size):
            total, carry = adder(*column[at : at + size])
            result[place].append(total)
            result[place + 1].append(carry)
        result[place] += map(register, column[whole:])
    return result if result[-1] else result[:-1]


def _adder(m, bits):
    """Add two or three bits; return the sum and the carry of a clock later."""
    return _register(m, reduce(xor, bits)), _register(m, _carry(bits))


def _carry(bits):
    """Return whether at least two of two or three bits are set."""
    if len(bits) < 3:
        return reduce(and_, bits)
    a, b, c = bits
    return (a & b) | (c & (a | b))


def _register(m, bit):
    register = Signal(reset_less=True)
    m.d.sync += register.eq(bit)
    return register
