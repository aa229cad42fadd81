"""The machinery of the proofs, on circuits whose truth is known."""

import pytest
from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift_sim.formal import Claims, Proof, arithmetic, check
from upshift_sim.formal.btor import parse


class Counter(wiring.Component):
    """Counts to five and starts again."""

    def __init__(self):
        super().__init__({"enable": In(1), "count": Out(4)})

    def elaborate(self, platform):
        m = Module()
        with m.If(self.enable):
            m.d.sync += self.count.eq(Mux(self.count == 5, 0, self.count + 1))
        return m


def counter(limit, *, clocks, cover=None):
    claims = Claims()
    unit = Counter()
    claims.add("unit", unit)
    claims.drive("enable", unit.enable)
    claims.clocks = clocks
    claims.claim("small", unit.count <= limit)
    if cover is not None:
        claims.cover("far", unit.count == cover)
    return claims


def prove(method, claims, **options):
    return check(Proof("test", "", lambda: claims, method), **options)


def test_a_bounded_proof_covers_its_clocks_and_no_more():
    assert prove("bounded", counter(3, clocks=3)).outcome == "proved"
    result = prove("bounded", counter(3, clocks=4))
    assert (result.outcome, result.failed) == ("refuted", "claim_small")
    assert [values["enable"] for values in result.trace[:4]] == [1, 1, 1, 1]


def test_induction_is_for_ever():
    assert prove("induction", counter(5, clocks=1)).outcome == "proved"
    # True of the first clocks, but not a consequence of the clock before.
    assert prove("induction", counter(4, clocks=1)).outcome == "refuted"


def test_any_state_includes_those_that_cannot_be_reached():
    result = prove("any state", counter(5, clocks=1))
    assert result.outcome == "refuted"
    assert result.trace[0]["unit.count"] > 5


def test_what_cannot_be_reached_fails_a_proof():
    result = prove("bounded", counter(5, clocks=2, cover=4))
    assert (result.outcome, result.failed) == ("refuted", "cover_far")
    result = prove("bounded", counter(5, clocks=6, cover=4))
    assert (result.outcome, result.covers) == ("proved", {"cover_far": 4})


def test_a_solver_that_gives_up_proves_nothing():
    claims = arithmetic.lane(UnitConfig(weight=Fixed(32, 16)))
    assert prove("any state", claims, limit=0.02).outcome == "unknown"


def test_assumptions_and_constants_hold_in_every_clock():
    claims = Claims()
    claims.clocks = 3
    same = claims.constant(4, "same")
    odd = claims.free(4, "odd")
    claims.assume("odd", odd[0])
    claims.claim("does not change", claims.past(same, 1) == Mux(claims.past(Const(1), 1), same, 0))
    claims.claim("stays odd", odd != 6)
    assert prove("bounded", claims).outcome == "proved"


def test_an_output_that_is_cut_may_be_anything():
    class Outer(wiring.Component):
        def __init__(self):
            super().__init__({"enable": In(1), "count": Out(4)})

        def elaborate(self, platform):
            m = Module()
            m.submodules.inner = inner = Counter()
            m.d.comb += [inner.enable.eq(self.enable), self.count.eq(inner.count)]
            return m

    for cut, outcome in (((), "proved"), (("inn*",), "refuted")):
        claims = Claims()
        unit = Outer()
        parts = claims.add("unit", unit, cut=cut)
        claims.drive("enable", unit.enable)
        claims.claim("zero", parts["inner"].count == 0)
        assert prove("bounded", claims).outcome == outcome


@pytest.mark.parametrize("width", [1, 7, 40])
def test_operators_mean_what_they_mean_in_gateware(rng, width):
    claims = Claims()
    for n in range(8):
        x, y = (int(rng.integers(-(1 << width - 1), 1 << width - 1)) for _ in range(2))
        places = int(rng.integers(8))
        # Inputs that are assumed, not constants, which Yosys would fold.
        a, b = claims.free(signed(width), f"a{n}"), claims.free(signed(width), f"b{n}")
        shift = claims.free(3, f"shift{n}")
        claims.assume(f"inputs {n}", (a == x) & (b == y) & (shift == places))
        mask = (1 << width) - 1
        for name, value, expected in (
            ("sum", a + b, x + y),
            ("difference", a - b, x - y),
            ("product", a * b, x * y),
            ("negative", -a, -x),
            ("and", a & b, x & y),
            ("or", a | b, x | y),
            ("xor", a ^ ~b, x ^ ~y),
            ("left", a << shift, x << places),
            ("right", a >> shift, x >> places),
            ("unsigned right", a.as_unsigned() >> shift, (x & mask) >> places),
            ("chosen", Mux(a < b, a, b), min(x, y)),
            ("bits", Cat(a, b)[width // 2 : width + 1], ((y << width | x & mask) >> width // 2)),
            ("any", a.any(), x != 0),
            ("all", a.all(), x == -1),
            ("parity", a.xor(), (x & mask).bit_count() % 2),
            ("order", (a <= b) + (a >= b) + (a > b), (x <= y) + (x >= y) + (x > y)),
        ):
            if name == "bits":
                claims.claim(f"{name} {n}", value == expected & ((1 << len(value)) - 1))
                continue
            claims.claim(f"{name} {n}", value == expected)
    assert prove("any state", claims).outcome == "proved"


def test_memories_hold_what_is_written():
    class Store(wiring.Component):
        def __init__(self):
            super().__init__({"at": In(2), "write": In(1), "word": In(3), "read": Out(3)})

        def elaborate(self, platform):
            m = Module()
            m.submodules.memory = memory = Memory(shape=3, depth=4, init=[1, 2, 3, 4])
            write, read = memory.write_port(), memory.read_port(domain="comb")
            m.d.comb += [
                write.addr.eq(self.at),
                read.addr.eq(self.at),
                write.data.eq(self.word),
                write.en.eq(self.write),
                self.read.eq(read.data),
            ]
            return m

    for claimed, outcome in ((None, "proved"), (3, "refuted")):
        claims = Claims()
        claims.clocks = 4
        unit = Store()
        claims.add("unit", unit)
        for name in ("at", "write", "word"):
            claims.drive(name, getattr(unit, name))
        kept = Signal(3, init=3)
        with claims.m.If(unit.write & (unit.at == 2)):
            claims.m.d.sync += kept.eq(unit.word)
        expected = kept if claimed is None else claimed
        claims.claim("kept", (unit.at != 2) | (unit.read == expected))
        assert prove("bounded", claims).outcome == outcome


@pytest.mark.parametrize(
    "line", ["2 frobnicate 1 1", "2 input 7", "2 not 1 5", "2 sort array 1 1", "2", "x input 1"]
)
def test_a_line_that_is_not_understood_is_named(line):
    with pytest.raises(ValueError, match=f"BTOR2 line '{line}' is not understood"):
        parse(f"1 sort bitvec 1\n{line}\n")
