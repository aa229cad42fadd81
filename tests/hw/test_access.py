"""Host access between bursts, and what a reset in the middle of a burst leaves behind."""

import numpy as np
import pytest

from upshift import layout, vectors
from upshift.config import UnitConfig
from upshift.layout import Operation
from upshift.reference import Command
from upshift.vectors import Vector, update
from upshift_sim.pysim import drive

CONFIG = UnitConfig(lanes=4, depth=64)
LATENCY = 5  # clocks from a beat to the write of its weights, as documented


def on_unit(script):
    """Run an async script on a unit whose weights count up from zero."""

    async def testbench(driver):
        await driver.write(np.arange(CONFIG.depth))
        await script(driver)

    drive(CONFIG, testbench)


def burst(base, count, word=64):
    """With gradients 16.12 and weights 18.16 a step is 16 times the raw gradient."""
    return update(base, [word] * count, rate=0, resolution=16)


class Traffic:
    """Keeps commands, equal gradient beats and one access on offer, and notes every transfer."""

    def __init__(self, driver, bursts, access=None, after=0):
        self.driver = driver
        self.bursts = list(bursts)
        self.access, self.after = access, after
        self.beats, self.reports = [], []
        self.accessed = self.answered = self.row = None
        self.clock = 0

    async def step(self, *, take_row=True):
        assert self.clock < 1000, "stuck"
        driver, unit, context = self.driver, self.driver.unit, self.driver.context
        driver.offer(unit.i_command, driver.command(self.bursts[0]) if self.bursts else None)
        driver.offer(unit.i_gradients, driver.beat([64] * 4))
        wanted = self.access is not None and self.clock >= self.after and self.accessed is None
        driver.offer(unit.i_access, self.access if wanted else None)
        context.set(unit.o_report.ready, 1)
        context.set(unit.o_weights.ready, take_row)
        if self.bursts and context.get(unit.i_command.ready):
            self.bursts.pop(0)
        if context.get(unit.i_gradients.ready):
            self.beats.append(self.clock)
        if wanted and context.get(unit.i_access.ready):
            self.accessed = self.clock
        if context.get(unit.o_weights.valid) and take_row:
            self.answered = self.clock
            payload = context.get(unit.o_weights.payload.as_value())
            self.row = layout.unpack_lanes(CONFIG, payload)
        if context.get(unit.o_report.valid):
            self.reports.append(driver.report())
        await driver.tick()
        self.clock += 1


def write_of(row, words, mask=0b1111):
    fields = {"row": row, "write": 1, "mask": mask, "weights": layout.pack_lanes(words, 18)}
    return layout.pack(layout.access(CONFIG), fields)


def read_of(row):
    return layout.pack(layout.access(CONFIG), {"row": row})


@pytest.mark.parametrize("after", [7, 9, 14])
def test_a_write_waits_for_the_burst_in_progress_and_goes_before_the_next(after):
    async def script(driver):
        # Row 9 is the last of the first burst and the first of the second.
        access = write_of(9, [1, 2, 3, 4])
        traffic = Traffic(driver, [burst(0, 40), burst(36, 28)], access, after)
        while len(traffic.reports) < 2:
            await traffic.step()
        first, second = traffic.beats[:10], traffic.beats[10:17]
        assert first == list(range(first[0], first[0] + 10))
        # The last weight is written LATENCY clocks after its beat; the access comes next.
        assert traffic.accessed == first[-1] + LATENCY + 1
        assert second[0] > traffic.accessed
        assert second == list(range(second[0], second[0] + 7))
        driver.offer(driver.unit.i_gradients, None)
        weights = await driver.read()
        step = 64 << 4
        assert weights[36:40].tolist() == [word - step for word in (1, 2, 3, 4)]
        assert weights[:36].tolist() == [n - step for n in range(36)]
        assert weights[40:].tolist() == [n - step for n in range(40, 64)]

    on_unit(script)


def test_a_read_sees_the_last_write_of_the_burst_and_holds_the_next_until_it_is_taken():
    async def script(driver):
        traffic = Traffic(driver, [burst(0, 40), burst(36, 28)], read_of(9), 7)
        for _ in range(60):
            await traffic.step(take_row=False)
        assert traffic.accessed is not None
        assert len(traffic.beats) == 10, "no burst starts before the row is taken"
        while len(traffic.reports) < 2:
            await traffic.step()
        assert traffic.row == [n - (64 << 4) for n in range(36, 40)]
        assert len(traffic.beats) == 17
        assert traffic.beats[10] > traffic.answered

    on_unit(script)


def test_an_access_to_an_idle_unit_is_served_two_clocks_later():
    async def script(driver):
        traffic = Traffic(driver, [], read_of(3), 2)
        for _ in range(7):
            await traffic.step()
        assert (traffic.accessed, traffic.answered) == (4, 6)
        assert traffic.row == [12, 13, 14, 15]

    on_unit(script)


def test_rows_are_read_every_third_clock():
    async def script(driver):
        unit, context = driver.unit, driver.context
        context.set(unit.o_weights.ready, 1)
        rows = []
        for clock in range(48):
            driver.offer(unit.i_access, read_of(clock // 3))
            assert context.get(unit.i_access.ready) == (clock % 3 == 0)
            assert context.get(unit.o_weights.valid) == (clock % 3 == 2)
            if context.get(unit.o_weights.valid):
                payload = context.get(unit.o_weights.payload.as_value())
                rows += layout.unpack_lanes(CONFIG, payload)
            await driver.tick()
        assert rows == list(range(64))

    on_unit(script)


def test_a_read_right_behind_a_write_sees_it():
    async def script(driver):
        unit, context = driver.unit, driver.context
        context.set(unit.o_weights.ready, 1)
        for access in (write_of(3, [1, 2, 3, 4]), read_of(3)):
            driver.offer(unit.i_access, access)
            assert context.get(unit.i_access.ready)
            await driver.tick()
        driver.offer(unit.i_access, None)
        await driver.tick()
        assert context.get(unit.o_weights.valid)
        payload = context.get(unit.o_weights.payload.as_value())
        assert layout.unpack_lanes(CONFIG, payload) == [1, 2, 3, 4]

    on_unit(script)


def test_a_row_that_was_read_stays_until_it_is_taken():
    async def script(driver):
        unit, context = driver.unit, driver.context
        driver.offer(unit.i_access, read_of(5))
        await driver.tick()  # right behind a write
        await driver.tick()
        driver.offer(unit.i_access, read_of(6))
        for _ in range(5):
            assert context.get(unit.o_weights.valid)
            assert not context.get(unit.i_access.ready), "the next read would overwrite it"
            payload = context.get(unit.o_weights.payload.as_value())
            assert layout.unpack_lanes(CONFIG, payload) == [20, 21, 22, 23]
            await driver.tick()

    on_unit(script)


def test_lanes_outside_the_mask_are_not_written():
    async def script(driver):
        await driver.write_row(2, [-1, -2, -3, -4], mask=0b0110)
        assert await driver.read_row(2) == [8, -2, -3, 11]
        assert await driver.read_row(1) == [4, 5, 6, 7]

    on_unit(script)


def test_status_is_busy_until_the_last_weight_is_written():
    async def script(driver):
        traffic = Traffic(driver, [burst(0, 8)])
        driver.context.set(driver.unit.bus.address, 4)
        busy = []
        while len(traffic.reports) < 1:
            await traffic.step()
            busy.append(driver.context.get(driver.unit.bus.read_data) & 1)
        # In progress from four clocks before the first beat to the last write, and shown two
        # clocks later.
        first, last = busy.index(1), len(busy) - 1 - busy[::-1].index(1)
        assert first == traffic.beats[0] - 2
        assert last == traffic.beats[-1] + LATENCY + 1
        assert all(busy[first : last + 1])

    on_unit(script)


# -- reset ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", range(2, 26))
def test_reset_in_the_middle_of_a_burst(when):
    """Every weight is old or new, rows in order; afterwards the unit works from the start."""
    raising = Vector(Command(Operation.RAISE, resolution=7), np.zeros(0, int))

    async def script(driver):
        unit, context = driver.unit, driver.context
        await driver.run([raising, burst(0, 4)])
        await driver.write_row(0, [0, 1, 2, 3])
        traffic = Traffic(driver, [burst(1, 61)])
        for _ in range(when):
            await traffic.step()
        for stream in (unit.i_command, unit.i_gradients):
            driver.offer(stream, None)
        context.set(unit.o_report.ready, 0)
        context.set(driver.reset, 1)
        await driver.tick()
        context.set(driver.reset, 0)

        for name in ("status", "error", "clocks", "beats", "stalls", "waits"):
            assert await driver.read_register(name) == 0, name
        weights = await driver.read()
        old = np.arange(64)
        new, _ = vectors.expect(CONFIG, old, [burst(1, 61)])
        changed = [int(n) for n in np.flatnonzero(weights != old)]
        assert changed == list(range(1, 1 + len(changed))), "in order, without a gap"
        assert weights[changed].tolist() == new[changed].tolist()
        written = sum(beat + LATENCY <= when for beat in traffic.beats)
        rows = {n // 4 for n in changed}
        assert len(rows) == written, "beats that reached the memory by then are there"

        # Nothing of the old burst is left: no report, no beat it still waits for, no floor.
        await driver.tick(20)
        assert not context.get(unit.o_report.valid)
        some = [update(2, range(-9, 9), rate=1, resolution=3), burst(0, 64)]
        reports = await driver.run(some)
        expected, expected_reports = vectors.expect(CONFIG, weights, some)
        assert reports == expected_reports
        assert (await driver.read()).tolist() == expected.tolist()

    on_unit(script)
