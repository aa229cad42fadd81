"""The parts of the cocotb benches that need no simulator."""

import json
import re

import numpy as np
import pytest

from upshift import layout
from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift.layout import Operation
from upshift.reference import Command
from upshift.vectors import Vector, beats, initial_weights, random_vectors, tie, update
from upshift_sim.bench import vectors_file
from upshift_sim.bench.coverage import Coverage, CoverageError
from upshift_sim.bench.scoreboard import MismatchError, Scoreboard, unpack_words
from upshift_sim.bench.timing import check_clocks, expected_clocks
from upshift_sim.bench.unit_bins import Bin, UnitCoverage, hazards, required

CONFIG = UnitConfig(lanes=4, weight=Fixed(8, 4), gradient=Fixed(8, 4), depth=16, max_rate=4)
LATENCY, DISTANCE = 5, 4


# -- coverage -----------------------------------------------------------------------------------


def test_an_empty_required_bin_fails():
    coverage = Coverage({"a", "b", "c"})
    coverage.hit("b")
    coverage.hit("b")
    coverage.hit("other")
    assert coverage.missing() == ["a", "c"]
    with pytest.raises(CoverageError, match="never seen, though required: a, c"):
        coverage.check()
    assert json.loads(coverage.to_json()) == {"a": 0, "b": 2, "c": 0, "other": 1}


def test_full_coverage_passes():
    coverage = Coverage({"a"})
    coverage.hit("a")
    coverage.check()


def test_each_required_bin_is_missed_alone():
    names = required(CONFIG, DISTANCE)
    assert {*hazards(DISTANCE), Bin.SHARED_BEAT, Bin.COUNTED_STALLS} <= names
    for name in names:
        coverage = UnitCoverage(CONFIG, DISTANCE)
        for other in names - {name}:
            coverage.hit(other)
        with pytest.raises(CoverageError, match=f"required: {re.escape(name)}$"):
            coverage.check()


@pytest.mark.parametrize("negative", [False, True])
def test_ties_are_ties(negative):
    word, rate, resolution = tie(CONFIG, negative=negative)
    assert word / 2**4 * 2.0 ** (resolution - rate) == (-0.5 if negative else 0.5)


# -- the scoreboard, with a model in place of a unit --------------------------------------------


class Bench:
    """Feeds a scoreboard with what a unit without any fault would do."""

    def __init__(self):
        self.coverage = UnitCoverage(CONFIG, DISTANCE)
        self.board = Scoreboard(CONFIG, LATENCY, self.coverage.observe)
        self.board.unit.weights[:] = self.board.seen[:] = initial_weights(CONFIG, 3)
        self.clock = 0

    def take(self, vector, clocks=None, waited=0):
        """Hand over a command and its beats, one per clock, or at the given clocks."""
        command = layout.pack(layout.command(CONFIG), vector.command.fields())
        self.board.on_command(command, self.clock)
        for number, beat in enumerate(beats(CONFIG, vector)):
            if clocks is not None and number == len(clocks):
                return
            self.clock = self.clock + 1 if clocks is None else clocks[number]
            payload = layout.pack_lanes(beat, CONFIG.gradient.width)
            self.board.on_gradients(payload, self.clock, waited)

    def report(self, **changes):
        """Hand over the report that is due, or a changed one."""
        due = self.board._reported[0].report | changes
        self.board.on_report(layout.pack(layout.report(CONFIG), due), self.clock)

    def read(self, row, weights=None):
        """Read a row at a quiet time; `weights` come instead of the model's."""
        self.clock += 100
        self.board.on_access(layout.pack(layout.access(CONFIG), {"row": row}), self.clock)
        if weights is None:
            weights = self.board.unit.weights[row * 4 : row * 4 + 4]
        self.board.on_weights(layout.pack_lanes(weights, CONFIG.weight.width), self.clock + 1)


@pytest.fixture
def bench():
    return Bench()


def test_right_reports_and_weights_pass(bench):
    vectors = random_vectors(CONFIG, 30, seed=4)
    for vector in vectors:
        bench.take(vector)
        bench.report()
    for row in range(CONFIG.rows):
        bench.read(row)
    board = bench.board
    assert (board.bursts, board.reports, board.weights) == (30, 30, CONFIG.depth)
    assert board.elements == sum(vector.gradients.size for vector in vectors)
    assert board.drained
    assert not board.touched


@pytest.mark.parametrize(
    "changes", [{"elements": 4}, {"nonzero": 1}, {"saturated": 2}, {"refusal": 1}, {"needed": -3}]
)
def test_a_wrong_report_fails(bench, changes):
    bench.take(update(1, [3, 3, 3], rate=0, resolution=4))
    with pytest.raises(MismatchError, match=f"{next(iter(changes))} is"):
        bench.report(**changes)


def test_a_wrong_weight_fails(bench):
    weights = bench.board.unit.weights[4:8].copy()
    weights[2] ^= 1
    with pytest.raises(MismatchError, match="weight 6 differs"):
        bench.read(1, weights)


def test_what_nobody_asked_for_fails(bench):
    with pytest.raises(MismatchError, match="no command asked"):
        bench.board.on_gradients(0, 1)
    with pytest.raises(MismatchError, match="no access asked"):
        bench.board.on_weights(0, 1)
    with pytest.raises(MismatchError, match="no finished command"):
        bench.board.on_report(0, 1)


def test_an_access_before_the_last_write_fails(bench):
    bench.take(update(0, [1], rate=0, resolution=4))
    access = layout.pack(layout.access(CONFIG), {"row": 0})
    with pytest.raises(MismatchError, match="before the last write"):
        bench.board.on_access(access, bench.clock + LATENCY)
    bench.board.on_access(access, bench.clock + LATENCY + 1)


@pytest.mark.parametrize("late", [False, True])
def test_a_burst_may_pass_an_access_in_the_clock_after_it_is_offered(bench, late):
    bench.board.watch_access(True, bench.clock)
    bench.clock += late
    if late:
        with pytest.raises(MismatchError, match="2 clocks after a host access"):
            bench.take(update(0, [1] * 8, rate=0, resolution=4))
    else:
        bench.take(update(0, [1] * 8, rate=0, resolution=4))


def test_no_burst_starts_before_what_was_read_is_taken(bench):
    bench.board.on_access(layout.pack(layout.access(CONFIG), {"row": 0}), 50)
    with pytest.raises(MismatchError, match="before the data"):
        bench.take(update(0, [1], rate=0, resolution=4))


@pytest.mark.parametrize("written", [False, True])
def test_after_a_reset_a_weight_is_old_or_new(bench, written):
    board = bench.board
    board.unit.weights[:] = 0
    bench.take(update(0, [16] * 16, rate=0, resolution=4), clocks=[10, 11, 14, 15])
    bench.take(update(0, [16] * 16, rate=0, resolution=4), clocks=[20, 21, 24])
    board.on_reset(26)  # beats before clock 21 are written, later ones may be
    assert board.lost == 2
    assert board.drained
    bench.read(0, [-32] * 4)
    bench.read(1, [-32] * 4 if written else [-16] * 4)
    bench.read(2, [-32] * 4 if written else [-16] * 4)
    bench.read(3, [-16] * 4)
    bench.take(update(0, [16], rate=0, resolution=4))


@pytest.mark.parametrize(("row", "weights"), [(0, [-16] * 4), (1, [-17] * 4), (3, [-32] * 4)])
def test_after_a_reset_other_weights_fail(bench, row, weights):
    board = bench.board
    board.unit.weights[:] = 0
    bench.take(update(0, [16] * 16, rate=0, resolution=4), clocks=[10, 11, 14, 15])
    bench.take(update(0, [16] * 16, rate=0, resolution=4), clocks=[20, 22, 24])
    board.on_reset(26)
    with pytest.raises(MismatchError, match=f"weight {4 * row} differs"):
        bench.read(row, weights)


def test_weights_must_be_read_after_a_reset(bench):
    bench.take(update(0, [16] * 4, rate=0, resolution=4))
    bench.board.on_reset(bench.clock + 1)
    with pytest.raises(MismatchError, match="before its weights were read"):
        bench.take(update(0, [16], rate=0, resolution=4))


@pytest.mark.parametrize(("gap", "seen"), [(1, 1), (DISTANCE - 1, 1), (DISTANCE + 1, 0)])
def test_a_pair_of_bursts_counts_only_back_to_back(bench, gap, seen):
    bench.take(update(0, [1, 1], rate=0, resolution=4))
    bench.report()
    bench.clock += gap - 1
    bench.take(update(2, [1, 1], rate=1, resolution=3))
    bench.report()
    for name in (Bin.SHARED_BEAT, Bin.RATE_CHANGED, Bin.RESOLUTION_CHANGED):
        assert bench.coverage.counts[name] == seen
    assert not bench.coverage.counts[Bin.SAME_ADDRESS]


def test_a_shared_row_counts_only_without_a_wait(bench):
    bench.take(update(0, [1, 1], rate=0, resolution=4))
    bench.report()
    bench.clock += 1
    bench.take(update(2, [1, 1], rate=0, resolution=4), waited=1)
    bench.report()
    assert not bench.coverage.counts[Bin.SHARED_BEAT]


@pytest.mark.parametrize(
    ("base", "gap", "waited", "seen"),
    [
        *((3, DISTANCE, DISTANCE - age, age) for age in range(1, DISTANCE)),
        (3, DISTANCE, 0, None),  # offered in the clock in which the lane was free again
        (3, DISTANCE + 1, 2, None),  # something else held it up
        (7, DISTANCE, 2, None),  # another row
        (2, DISTANCE, 2, None),  # another lane
    ],
)
def test_a_wait_is_for_the_beat_in_flight(bench, base, gap, waited, seen):
    bench.take(update(3, [1], rate=0, resolution=4), clocks=[20])
    bench.report()
    bench.clock = 20 + gap - waited - 8  # the command was taken early enough
    bench.take(update(base, [1], rate=0, resolution=4), clocks=[20 + gap], waited=waited)
    bench.report()
    names = hazards(DISTANCE)
    expected = [0 if age != seen else 1 for age in range(1, DISTANCE)]
    assert [bench.coverage.counts[name] for name in names] == expected


def test_a_wait_with_a_late_command_counts_for_nothing(bench):
    bench.take(update(3, [1], rate=0, resolution=4), clocks=[20])
    bench.report()
    bench.take(update(3, [1], rate=0, resolution=4), clocks=[20 + DISTANCE], waited=1)
    bench.report()
    assert not any(bench.coverage.counts[name] for name in hazards(DISTANCE))


def test_gradients_of_a_beat_are_signed():
    assert unpack_words(CONFIG, 0x7F_80_01_FF) == [-1, 1, -128, 127]


# -- throughput ---------------------------------------------------------------------------------


def test_the_rule_gives_the_clock_of_each_beat(bench):
    for vector in (
        update(0, [1] * 16, rate=0, resolution=4),
        Vector(Command(Operation.RAISE, resolution=0), np.zeros(0, np.int64)),
        update(0, [1], rate=0, resolution=4),
        update(0, [1], rate=0, resolution=4),  # waits
        update(1, [1], rate=0, resolution=4),  # another lane
        update(0, [1], rate=7, resolution=4),  # refused
    ):
        bench.take(vector)
    clocks, waits = expected_clocks(CONFIG, bench.board.history, DISTANCE, 10)
    assert clocks == [[10, 11, 12, 13], [], [15], [19], [20], [21]]
    assert waits == DISTANCE - 1


def test_a_late_beat_fails(bench):
    bench.take(update(0, [1] * 16, rate=0, resolution=4), clocks=[3, 4, 5, 7])
    with pytest.raises(MismatchError, match="by the throughput rule"):
        check_clocks(CONFIG, bench.board.history, DISTANCE)


def test_throughput_of_nothing_fails():
    with pytest.raises(MismatchError, match="no beat was taken"):
        check_clocks(CONFIG, [], DISTANCE)


# -- recorded vectors ---------------------------------------------------------------------------


def recording():
    vectors = random_vectors(CONFIG, 5, seed=1)
    weights = initial_weights(CONFIG, 1)
    expected = [vectors_file.Expected(n, 0, None if n == 2 else n - 3) for n in range(5)]
    return vectors_file.Recorded(CONFIG, weights, vectors, weights[::-1], expected)


@pytest.mark.parametrize("bursts", [0, 5])
def test_recorded_vectors_come_back(bursts, tmp_path):
    whole = recording()
    recorded = vectors_file.Recorded(
        CONFIG,
        whole.weights,
        whole.vectors[:bursts],
        whole.expected_weights,
        whole.expected[:bursts],
    )
    path = tmp_path / "vectors.npz"
    vectors_file.save(path, recorded)
    loaded = vectors_file.load(path)
    assert loaded.config == CONFIG
    assert loaded.expected == recorded.expected
    np.testing.assert_array_equal(loaded.weights, recorded.weights)
    np.testing.assert_array_equal(loaded.expected_weights, recorded.expected_weights)
    assert [v.command for v in loaded.vectors] == [v.command for v in recorded.vectors]
    for got, want in zip(loaded.vectors, recorded.vectors, strict=True):
        np.testing.assert_array_equal(got.gradients, want.gradients)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": np.zeros(3, np.int64)}, "weights has shape"),
        ({"rate": np.zeros(3, np.int64)}, "rate has shape"),
        ({"gradients": np.zeros(3, np.int64)}, "do not fit"),
        ({"expected_needed": None}, "has no arrays \\['expected_needed'\\]"),
    ],
)
def test_files_that_do_not_fit_are_refused(change, message, tmp_path):
    path = tmp_path / "vectors.npz"
    vectors_file.save(path, recording())
    with np.load(path) as file:
        arrays = dict(file) | change
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(ValueError, match=message):
        vectors_file.load(path)


def test_only_updates_are_recorded(tmp_path):
    whole = recording()
    floor = Vector(Command(Operation.RAISE), np.zeros(0, np.int64))
    recorded = vectors_file.Recorded(CONFIG, whole.weights, [floor], whole.weights, [])
    with pytest.raises(ValueError, match="only updates"):
        vectors_file.save(tmp_path / "vectors.npz", recorded)
