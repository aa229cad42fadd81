"""Parts of the AXI shell on their own: crossings at any clock ratio, packets of any length."""

import pytest
from amaranth.hdl import ClockDomain, Module, Signal
from amaranth.lib import data
from amaranth.sim import Simulator

from upshift.config import UnitConfig
from upshift.formats import Fixed, bfloat16
from upshift_hw.axi import lanes
from upshift_hw.axi.crossing import Mailbox, StreamCrossing
from upshift_hw.axi.ends import StreamIn
from upshift_hw.axi.framing import Framer
from upshift_hw.axi.reset import ResetSequencer

PERIODS = {"equal": (10, 10), "to slower": (7, 23), "to faster": (31, 9), "almost": (100, 101)}


@pytest.fixture
def two_clocks():
    """Function that runs testbenches on a component between the clocks ``a`` and ``b``."""

    def two_clocks(component, a, b, *testbenches):
        top = Module()
        top.domains.a = ClockDomain("a")
        top.domains.b = ClockDomain("b")
        top.submodules.dut = component
        simulator = Simulator(top)
        simulator.add_clock(a * 1e-9, domain="a")
        simulator.add_clock(b * 1e-9, domain="b", phase=b * 0.31e-9)
        for testbench in testbenches:
            simulator.add_testbench(testbench)
        simulator.run()

    return two_clocks


def carry(two_clocks, dut, periods, words, *, pauses=None):
    """Send words through a crossing; return what came, and when, in the time of the periods."""
    came = []
    times = []
    clock = 0
    pauses_in, pauses_out = pauses or ([0] * len(words), [0] * len(words))

    async def send(context):
        for word, pause in zip(words, pauses_in, strict=True):
            if pause:
                await context.tick("a").repeat(pause)
            context.set(dut.i.payload, word)
            context.set(dut.i.valid, 1)
            await context.tick("a").until(dut.i.ready)
            context.set(dut.i.valid, 0)

    async def receive(context):
        nonlocal clock
        for pause in pauses_out:
            context.set(dut.o.ready, 0)
            for _ in range(pause):
                await context.tick("b")
                clock += 1
            context.set(dut.o.ready, 1)
            taken = False
            while not taken:
                _, _, taken, word = await context.tick("b").sample(dut.o.valid, dut.o.payload)
                clock += 1
            came.append(word)
            times.append(clock * periods[1])

    two_clocks(dut, *periods, send, receive)
    return came, times


@pytest.mark.parametrize("kind", [StreamCrossing, Mailbox])
@pytest.mark.parametrize("periods", PERIODS.values(), ids=PERIODS)
def test_nothing_is_lost_doubled_or_reordered(kind, periods, two_clocks, rng):
    words = rng.integers(1 << 12, size=150).tolist()
    pauses = [(rng.integers(6, size=150) * (rng.random(150) < 0.3)).tolist() for _ in range(2)]
    dut = kind(12, i_domain="a", o_domain="b")
    came, _ = carry(two_clocks, dut, periods, words, pauses=pauses)
    assert came == words


@pytest.mark.parametrize("periods", PERIODS.values(), ids=PERIODS)
def test_the_slower_clock_sets_the_pace(periods, two_clocks):
    words = list(range(200))
    dut = StreamCrossing(12, i_domain="a", o_domain="b")
    came, times = carry(two_clocks, dut, periods, words)
    assert came == words
    assert times[-1] - times[50] <= (149 + 1) * max(periods)


def test_a_crossing_is_a_power_of_two_deep():
    with pytest.raises(ValueError, match="depth 12 is not allowed: a power of two, 4 or more"):
        StreamCrossing(1, i_domain="a", o_domain="b", depth=12)


@pytest.mark.parametrize(("bus", "unit"), PERIODS.values(), ids=PERIODS)
def test_the_unit_is_in_reset_before_and_while_the_crossings_are(bus, unit):
    dut = ResetSequencer()
    top = Module()
    top.domains.bus = domain = ClockDomain("bus")
    top.domains.sync = ClockDomain("sync")
    top.submodules.dut = dut
    simulator = Simulator(top)
    simulator.add_clock(bus * 1e-9, domain="bus")
    simulator.add_clock(unit * 1e-9, domain="sync", phase=unit * 0.31e-9)
    seen = []

    async def requests(context):
        for start in (dut.start, domain.rst, dut.start):
            await context.tick("bus").until(dut.running)
            await context.tick("bus").repeat(5)
            context.set(start, 1)
            await context.tick("bus")
            context.set(start, 0)
            await context.tick("bus")
            assert not context.get(dut.running)
        await context.tick("bus").until(dut.running)

    async def watch(context):
        both = 0
        while len(seen) < 4:
            await context.tick("sync")
            unit_reset, link_reset = context.get(dut.unit_reset), context.get(dut.link_reset)
            if context.get(dut.running):
                assert not unit_reset
                assert not link_reset
                if both:
                    seen.append(both)
                both = 0
            both += unit_reset and link_reset

    simulator.add_testbench(requests)
    simulator.add_testbench(watch)
    simulator.run()
    assert min(seen) >= 3  # long enough for the counts to pass two flip-flops


def test_padding_is_the_sign_and_what_does_not_fit_is_noticed(run):
    fmt = Fixed(10, 6)
    top = Module()
    words = Signal(data.ArrayLayout(10, 2))
    beat = Signal(32)
    packed, bad, back = Signal(32), Signal(2), Signal(20)
    top.d.comb += [
        packed.eq(lanes.to_bytes(words, fmt, 2)),
        bad.eq(lanes.misfits(beat, fmt, 2)),
        back.eq(lanes.from_bytes(beat, fmt, 2)),
    ]

    async def testbench(context, _reset):
        for low, high in ((0, 0x3FF), (0x200, 0x1FF), (0x155, 0x2AA)):
            context.set(words, [low, high])
            extended = [w - 1024 & 0xFFFF if w >> 9 else w for w in (low, high)]
            assert context.get(packed) == extended[0] | extended[1] << 16
            context.set(beat, context.get(packed))
            assert context.get(bad) == 0
            assert context.get(back) == low | high << 10
            context.set(beat, context.get(packed) ^ 1 << 31)
            assert context.get(bad) == 0b10
            assert context.get(back) == low | high << 10

    run(top, testbench)
    assert len(lanes.misfits(Signal(16), bfloat16, 1)) == 1


SMALL = UnitConfig(lanes=2, depth=64)


def framed(size, packet):
    """Return (beats, result) that a framer must make of a packet of so many words."""
    words = packet[:size] + [0] * (size - len(packet))
    early, late = len(packet) < size, len(packet) > size
    return words, (early, late, min(size, len(packet)))


@pytest.mark.parametrize("pauses", [False, True])
def test_each_burst_has_its_beats_whatever_its_packet(pauses, run, rng):
    dut = Framer(SMALL, 16)
    sizes = rng.integers(1, 9, size=60).tolist()
    packets = []
    for size in sizes:
        length = size if rng.random() < 0.5 else int(rng.integers(1, 14))
        packets.append(rng.integers(1, 1 << 16, size=length).tolist())
    expected = [framed(*pair) for pair in zip(sizes, packets, strict=True)]
    stream = [(w, n == len(p) - 1) for p in packets for n, w in enumerate(p)]

    async def testbench(context, _reset):
        beats, results, starts = [], [], list(sizes)
        position = 0
        context.set(dut.result.ready, 1)
        while len(results) < len(sizes):
            idle, stall = (rng.random(2) < 0.3) if pauses else (False, False)
            offered = position < len(stream) and (not idle or context.get(dut.i.valid))
            context.set(dut.i.valid, offered)
            if offered:
                context.set(
                    dut.i.payload, dict(zip(("data", "last"), stream[position], strict=True))
                )
            context.set(dut.o.ready, not stall)
            context.set(dut.plan.has_beats, 1)
            if starts:
                context.set(dut.plan.single, starts[0] == 1)
                context.set(dut.plan.double, starts[0] == 2)
                context.set(dut.plan.third_last, starts[0] - 3 & (1 << len(dut.plan.row)) - 1)
            start = bool(starts) and context.get(dut.free)
            context.set(dut.start, start)
            if context.get(dut.i.valid) and context.get(dut.i.ready):
                position += 1
            if context.get(dut.o.valid) and context.get(dut.o.ready):
                beats.append(context.get(dut.o.payload.data))
            if context.get(dut.result.valid):
                result = dut.result.payload
                results.append(tuple(context.get(result[n]) for n in ("early", "late", "beats")))
            if start:
                starts.pop(0)
            await context.tick()
        assert beats == [word for words, _ in expected for word in words]
        assert results == [result for _, result in expected]

    run(dut, testbench)


@pytest.mark.parametrize("drain", [False, True])
def test_a_reset_in_a_packet_drops_its_rest_if_asked(drain, run):
    dut = StreamIn(2)

    async def testbench(context, _reset):
        context.set(dut.o.ready, 1)
        context.set(dut.running, 1)
        context.set(dut.axis.tvalid, 1)
        taken = []
        for clock in range(8):
            context.set(dut.axis.tdata, clock)
            context.set(dut.axis.tlast, clock == 5)
            context.set(dut.reset, clock == 2)
            context.set(dut.drain, drain)
            assert context.get(dut.axis.tready)
            if context.get(dut.o.valid):
                taken.append(context.get(dut.o.payload.data))
            await context.tick()
        assert taken == ([0, 1, 2, 6, 7] if drain else list(range(8)))
        assert not context.get(dut.draining)

    run(dut, testbench)
