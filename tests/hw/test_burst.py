"""The sequencer alone: which beats it issues, when, and what it refuses."""

import numpy as np
import pytest

from upshift import layout
from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift.layout import Operation
from upshift.reference import Command, Unit
from upshift.report import Refusal
from upshift_hw.burst import BurstSequencer

DISTANCE = 4
CONFIGS = [
    UnitConfig(lanes=1, depth=7, weight=Fixed(4, 2), max_rate=4),
    UnitConfig(lanes=4, depth=20, weight=Fixed(6, 6), max_rate=0),
    UnitConfig(lanes=8, depth=64),
    UnitConfig(lanes=32, depth=32, weight=Fixed(4, 0), max_rate=63),
]
every_config = pytest.mark.parametrize(
    "config", CONFIGS, ids=[f"{c.lanes}-{c.depth}" for c in CONFIGS]
)


def beats_of(config, commands):
    """Beats that commands issue, as (row, mask, first, last, refusal, rate, resolution)."""
    unit = Unit(config)
    lanes = config.lanes
    for command in commands:
        refusal = unit.refusal(command)
        unit.execute(command, np.zeros(command.count, np.int64))
        beats = 1
        if command.operation == Operation.UPDATE and command.count:
            beats = config.beats(command.base, command.count)
        for beat in range(beats):
            row = command.base // lanes + beat
            mask = 0
            if command.operation == Operation.UPDATE and not refusal:
                inside = range(command.base, command.base + command.count)
                mask = sum((row * lanes + lane in inside) << lane for lane in range(lanes))
            yield (
                row if mask else None,
                mask,
                int(beat == 0),
                int(beat == beats - 1),
                int(refusal),
                command.rate,
                command.resolution,
            )


class Watch:
    """Offers commands and notes what the sequencer does in every clock."""

    def __init__(self, sequencer, context):
        self.sequencer, self.context = sequencer, context
        self.fields = layout.command(sequencer.config)
        self.clocks = []

    async def clock(self, command=None, *, gradient=True, free=True, hold=False):
        s, context = self.sequencer, self.context
        word = 0 if command is None else layout.pack(self.fields, command.fields())
        context.set(s.command.payload.as_value(), word)
        context.set(s.command.valid, command is not None)
        context.set(s.gradient_valid, gradient)
        context.set(s.report_free, free)
        context.set(s.hold, hold)
        flags = ("gradient_ready", "started", "refused", "stalled", "waiting", "counting", "active")
        seen = {name: context.get(getattr(s, name)) for name in flags}
        seen["taken"] = bool(seen["gradient_ready"] and gradient)
        seen["accepted"] = command is not None and context.get(s.command.ready)
        seen["beat"] = None
        if context.get(s.valid):
            beat = context.get(s.beat)
            row = beat["row"] if beat["mask"] else None
            seen["beat"] = (row, beat["mask"], beat["first"], beat["last"], beat["refusal"])
            seen["beat"] += (context.get(s.rate), context.get(s.resolution))
        self.clocks.append(seen)
        await context.tick()
        return seen

    async def all(self, commands, **pause):
        """Offer commands until each has issued its last beat."""
        sent = done = 0
        while done < len(commands):
            assert len(self.clocks) < 20000, "stuck"
            controls = {name: bool(choose()) for name, choose in pause.items()}
            seen = await self.clock(commands[sent] if sent < len(commands) else None, **controls)
            sent += seen["accepted"]
            done += seen["beat"] is not None and seen["beat"][3]

    @property
    def beats(self):
        return [(n, seen["beat"]) for n, seen in enumerate(self.clocks) if seen["beat"]]

    def count(self, name):
        return sum(bool(seen[name]) for seen in self.clocks)


def watch(run, config, script):
    sequencer = BurstSequencer(config, distance=DISTANCE)
    watches = []

    async def testbench(context, reset):
        watches.append(Watch(sequencer, context))
        await script(watches[0])

    run(sequencer, testbench)
    return watches[0]


def refusals(seen):
    """Causes of each command, told in the clock after it started."""
    pairs = zip(seen.clocks, seen.clocks[1:], strict=False)
    return [after["refused"] for before, after in pairs if before["started"]]


def random_commands(config, rng, count):
    limits = {f.name: 1 << f.width for f in layout.command(config)}
    commands = []
    for _ in range(count):
        values = {
            name: int(rng.integers(limits[name]))
            for name in ("base", "count", "rate", "resolution")
        }
        if rng.random() < 0.8:
            values["base"] %= config.depth
            values["count"] = int(rng.integers(1, config.depth - values["base"] + 1))
            values["rate"] %= config.max_rate + 1
        operation = Operation.RAISE if rng.random() < 0.05 else Operation.UPDATE
        commands.append(Command(operation, **values))
    return commands


@every_config
@pytest.mark.parametrize("pauses", [False, True], ids=["at full rate", "with pauses"])
def test_random_commands(run, rng, config, pauses):
    commands = random_commands(config, rng, 150)
    pause = {}
    if pauses:
        pause["gradient"] = lambda: rng.random() < 0.7
        pause["free"] = lambda: rng.random() < 0.8
        pause["hold"] = lambda: rng.random() < 0.2
    seen = watch(run, config, lambda w: w.all(commands, **pause))
    assert [beat for _, beat in seen.beats] == list(beats_of(config, commands))
    unit = Unit(config)
    refused = []
    for command in commands:
        refused.append(int(unit.refusal(command)))
        unit.execute(command, np.zeros(command.count, np.int64))
    assert refusals(seen) == refused
    assert sum(c["refused"] > 0 for c in seen.clocks) == sum(cause > 0 for cause in refused)
    # Every clock that counts is a beat, a stall or a wait, and never two of them.
    for clock, after in zip(seen.clocks, seen.clocks[1:], strict=False):
        assert after["counting"] == clock["taken"] + after["stalled"] + after["waiting"]


@every_config
def test_a_beat_waits_exactly_while_a_lane_of_its_row_is_in_flight(run, rng, config):
    commands = [
        Command(Operation.UPDATE, base, int(rng.integers(1, min(3, config.depth - base) + 1)))
        for base in rng.integers(min(config.depth, 2 * config.lanes), size=80).tolist()
    ]
    seen = watch(run, config, lambda w: w.all(commands))
    issued = []
    for clock, (row, mask, *_) in seen.beats:
        earliest = issued[-1][0] + 1 if issued else clock
        conflicts = [then + DISTANCE for then, r, m in issued if r == row and m & mask]
        assert clock == max([earliest, *conflicts])
        issued.append((clock, row, mask))
    assert seen.count("stalled") == 0
    assert 0 < seen.count("waiting") <= len(seen.beats) * (DISTANCE - 1)


def test_seven_commands_are_held(run):
    config = CONFIGS[2]
    command = Command(Operation.UPDATE, 0, 8, 0, 3)

    async def script(w):
        for _ in range(10):
            await w.clock(command, gradient=False)
        assert w.count("accepted") == 7  # three being checked, four in line
        assert w.count("started") == 4

    watch(run, config, script)


def test_a_command_starts_three_clocks_after_it_was_taken_and_its_beat_four_later(run):
    config = CONFIGS[2]

    async def script(w):
        await w.clock(Command(Operation.UPDATE, 0, 8, 0, 3))
        for _ in range(8):
            await w.clock()
        assert [n for n, seen in enumerate(w.clocks) if seen["started"]] == [3]
        assert [n for n, _ in w.beats] == [3 + w.sequencer.latency] == [7]

    watch(run, config, script)


def test_no_command_starts_without_a_report_slot(run):
    first = Command(Operation.UPDATE, 0, 32, 0, 3)
    second = Command(Operation.UPDATE, 32, 8, 0, 3)

    async def script(w):
        await w.clock(first)
        await w.clock(second)
        await w.clock()
        await w.clock()
        for _ in range(12):
            await w.clock(free=False)
        assert w.count("started") == 1
        assert [n for n, _ in w.beats] == [7, 8, 9, 10], "the burst in progress goes on"
        assert w.count("stalled") == 4, "a missing slot is a stall"
        for _ in range(6):
            await w.clock()
        assert len(w.beats) == 5

    watch(run, CONFIGS[2], script)


def test_no_burst_starts_on_hold(run):
    first = Command(Operation.UPDATE, 0, 32, 0, 3)
    second = Command(Operation.UPDATE, 32, 8, 0, 3)

    async def script(w):
        await w.clock(first)
        await w.clock(second)
        for _ in range(5):
            await w.clock()
        for _ in range(11):
            await w.clock(hold=True)
        assert [n for n, _ in w.beats] == [7, 8, 9, 10], "the burst in progress goes on"
        assert w.count("stalled") == 0, "a hold is not a stall"
        assert not w.clocks[-1]["counting"]
        await w.clock()
        assert len(w.beats) == 4, "a hold ends a clock late"
        await w.clock()
        assert len(w.beats) == 5

    watch(run, CONFIGS[2], script)


def test_the_floor_holds_for_the_very_next_command(run):
    config = CONFIGS[2]
    commands = [
        Command(Operation.RAISE, resolution=5),
        Command(Operation.UPDATE, 0, 8, 0, 4),
        Command(Operation.UPDATE, 8, 8, 0, 5),
        Command(Operation.RAISE, resolution=4),
    ]
    seen = watch(run, config, lambda w: w.all(commands))
    assert refusals(seen) == [0, Refusal.FLOOR, 0, Refusal.FLOOR]
