"""Finds beats that would read a weight whose update is still in the pipeline."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig


class HazardTracker(wiring.Component):
    """Compare each beat with those that start in the `distance` - 1 clocks before it may.

    Four beats are in line, and all of them move on together or none does: the *current* one, the
    *next* one, the *second* one, and the *new* one. A beat is *g ahead* of another if it starts,
    or has started, g clocks before the other could, did all move on from now. While nothing moves,
    one that has started gets further ahead, and one that is in line stays as far ahead as it is.

    A beat is compared once, as the new one: whether a row is the same and whether a lane is are
    known when the beat is the second, whom it meets when it is the next, and how long it waits when
    it is the current one.

    Parameters
    ----------
    config : UnitConfig
    distance : int
        Clocks from a beat to the first beat that may read what it wrote; 1 for none to wait.

    Members
    -------
    newer, second, following, current : In
        Row and mask of the beats in line; no lane is set where there is none, but for the new one.
    touches : In
        The new beat touches the lanes of its mask.
    move, decide : In
        All move on: the current beat, if there is one, starts. The same twice, since one leads to
        what is compared of rows, and the other to what is decided.
    next_waits : Out
        If the beats move on, the current one will have to wait in the next clock.
    stays : Out
        If they do not, it will.
    """

    def __init__(self, config: UnitConfig, *, distance: int):
        self.config = config
        self.distance = distance
        place = data.StructLayout({"row": layout.row_bits(config), "mask": config.lanes})
        super().__init__(
            {
                "newer": In(place),
                "second": In(place),
                "following": In(place),
                "current": In(place),
                "touches": In(1),
                "move": In(1),
                "decide": In(1),
                "next_waits": Out(1),
                "stays": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        if self.distance == 1:
            return m

        # Register next_meets_g: the next beat touches a lane of the one that is g ahead.
        # Registers next_waits_near, next_waits_far: it touches a lane of any of them.
        found = self._compare(m)
        meets = [Signal(name=f"next_meets_{gap}") for gap in range(1, self.distance)]
        # One ahead is the current beat, which stays there, and nothing has just started.
        stay = [meets[0], Const(0), *meets[1:]]
        m.d.sync += [
            register.eq(Mux(self.decide, *both))
            for register, both in zip(meets, zip(found, stay, strict=False), strict=True)
        ]
        halves = [Signal(name=f"next_waits_{half}") for half in ("near", "far")]
        for register, gaps in zip(halves, (slice(0, 3), slice(3, None)), strict=True):
            both = (reduce(or_, terms[: len(meets)][gaps], Const(0)) for terms in (found, stay))
            m.d.sync += register.eq(Mux(self.decide, *both))
        m.d.comb += self.next_waits.eq(Cat(halves).any())

        # Register waits_n: the current beat touches a lane of one that started `distance` - n
        # clocks ago or later. It waits for n clocks at least, this one included.
        waits = Const(0)
        for clocks in reversed(range(2, self.distance)):
            found = reduce(or_, meets[: self.distance - clocks])
            later, waits = waits, Signal(name=f"waits_{clocks}")
            m.d.sync += waits.eq(Mux(self.decide, found, later))
        m.d.comb += self.stays.eq(waits)
        return m

    def _compare(self, m):
        """Return whether the second beat meets the one that is 1 ahead, 2 ahead, and so on."""
        ahead = [(beat, 1) for beat in (self.second, self.following, self.current)]
        for age in range(1, self.distance - 3):
            past = Signal(self.newer.shape(), name=f"{age}_ago")
            started = Signal(name=f"started_{age}_ago")
            m.d.sync += [past.eq(ahead[-1][0]), started.eq(self.move if age == 1 else ahead[-1][1])]
            ahead.append((past, started))

        # Registers low_g, high_g, left_g and right_g: the second beat and the one that is g ahead
        # of it have the same low and high half of the row, and a lane in common in either half.
        rows, lanes = len(self.newer.row) // 2, -(-self.config.lanes // 2)
        before, found = None, []
        for gap, (beat, started) in enumerate(ahead[: self.distance - 1], 1):
            alike = [Signal(name=f"{what}_{gap}") for what in ("low", "high", "left", "right")]
            low, high, *share = alike
            common = beat.mask & self.newer.mask
            with m.If(self.move):
                m.d.sync += [
                    low.eq((beat.row[:rows] == self.newer.row[:rows]) & started),
                    high.eq(beat.row[rows:] == self.newer.row[rows:]),
                    share[0].eq(common[:lanes].any() & self.touches),
                    share[1].eq(common[lanes:].any() & self.touches),
                ]
            if gap == 3:  # 1 and 2 are in line, and 3 has not started
                with m.Else():
                    m.d.sync += Cat(share).eq(0)
            elif gap > 3:  # has started
                with m.Else():
                    m.d.sync += Cat(alike).eq(Cat(before))
            before = alike
            found.append(low & high & Cat(share).any())
        return found
