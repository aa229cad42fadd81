"""Test vectors: they fit their unit, and the corners hold what their names say."""

import numpy as np
import pytest

from upshift import layout, vectors
from upshift.config import UnitConfig
from upshift.formats import Fixed, bfloat16, float32
from upshift.layout import Operation
from upshift.reference import Command
from upshift.report import Refusal
from upshift.vectors import Vector

CONFIGS = [
    UnitConfig(depth=64),
    UnitConfig(lanes=1, depth=24, weight=Fixed(8, 8), gradient=Fixed(9, 3), max_rate=15),
    UnitConfig(lanes=1, depth=1),
    UnitConfig(lanes=1, depth=2, weight=Fixed(4, 0), gradient=Fixed(4, 0), max_rate=0),
    UnitConfig(lanes=2, depth=2, weight=Fixed(2, 2), gradient=Fixed(2, 0), max_rate=0),
    UnitConfig(lanes=32, depth=160, weight=Fixed(32, 0), gradient=Fixed(32, 32), max_rate=63),
    UnitConfig(lanes=1, depth=1, weight=Fixed(2, 2), gradient=bfloat16, max_rate=0),
    UnitConfig(lanes=4, depth=64, weight=Fixed(32, 0), gradient=float32, max_rate=63),
    UnitConfig(),
]
every_config = pytest.mark.parametrize(
    "config", CONFIGS, ids=[f"{c.lanes}-{c.weight}-{c.gradient}-{c.depth}" for c in CONFIGS]
)


@every_config
def test_every_vector_fits_the_ports(config, seed):
    standard = vectors.standard(config, 50, seed)
    fields = layout.command(config)
    for vector in standard:
        command = vector.command
        assert layout.unpack(fields, layout.pack(fields, command.fields())) == command.fields()
        assert vector.gradients.shape == (command.count,)
        config.gradient.check(vector.gradients)
    assert len(standard) > 50


@every_config
def test_expectations_are_those_of_the_model(config, seed):
    weights = vectors.initial_weights(config, seed)
    before = weights.copy()
    standard = vectors.standard(config, 20, seed)
    new, reports = vectors.expect(config, weights, standard)
    assert np.array_equal(weights, before)
    config.weight.check(new)
    for vector, report in zip(standard, reports, strict=True):
        assert layout.pack(layout.report(config), report) >= 0
        updates = vector.command.operation == Operation.UPDATE and not report["refusal"]
        assert report["elements"] == (vector.command.count if updates else 0)


def test_a_seed_repeats_its_vectors_and_another_does_not():
    config = UnitConfig(depth=64)
    one, same, other = (vectors.random_vectors(config, 30, seed) for seed in (1, 1, 2))

    def plain(some):
        return [(vector.command, vector.gradients.tolist()) for vector in some]

    assert plain(one) == plain(same) != plain(other)
    first = vectors.initial_weights(config, 5)
    assert first.tolist() == vectors.initial_weights(config, 5).tolist()
    assert first[:2].tolist() == [config.weight.max, config.weight.min]
    assert vectors.initial_weights(UnitConfig(lanes=1, depth=1), 0).tolist() == [config.weight.max]


@pytest.mark.parametrize("gradient", [Fixed(16, 12), bfloat16, float32], ids=str)
def test_random_vectors_cover_the_unit(gradient):
    config = UnitConfig(depth=64, gradient=gradient)
    some = vectors.random_vectors(config, 400, 3, longest=16)
    commands = [vector.command for vector in some]
    assert {command.count for command in commands} == set(range(1, 17))
    assert {command.base % config.lanes for command in commands} == set(range(8))
    assert {command.resolution for command in commands} == set(range(17))
    assert {command.rate for command in commands} >= set(range(17))
    assert max(command.base + command.count for command in commands) == config.depth
    for vector in some:
        gradient.check(vector.gradients)


def run(config, weights, some):
    return vectors.expect(config, np.asarray(weights), some)


def test_corners_hold_what_their_names_say():
    config = UnitConfig(depth=64)
    corners = vectors.corners(config)
    assert set(corners) == {
        "ties",
        "saturation",
        "all zero",
        "most negative",
        "single element",
        "back to back",
        "unaligned by 1",
        "unaligned by 7",
        "neighbours share a beat",
        "refused",
    }
    zero = np.zeros(config.depth, np.int64)

    positive, negative = corners["ties"]
    assert positive.gradients[0] > 0 > negative.gradients[0]
    _, reports = run(config, zero, [positive, negative])
    assert [r["nonzero"] for r in reports] == [1, 0], "only the positive tie is a step"

    new, reports = run(config, zero, corners["saturation"])
    assert new[:2].tolist() == [config.weight.max, config.weight.min]
    assert [report["saturated"] for report in reports] == [2, 2]

    _, (report,) = run(config, zero, corners["all zero"])
    assert (report["nonzero"], report["needed_valid"]) == (0, 0)
    assert report["elements"] > config.lanes

    assert {v.gradients[0] for v in corners["most negative"]} == {config.gradient.min}
    assert [v.command.base for v in corners["single element"]] == list(range(8))
    assert {v.command.count for v in corners["single element"]} == {1}
    rates = {(v.command.rate, v.command.resolution) for v in corners["back to back"]}
    assert len(rates) == 2, "rate and resolution change between bursts on one address"
    assert {v.command.base for v in corners["back to back"]} == {0}
    assert {v.command.base % 8 for v in corners["unaligned by 7"]} == {7}
    first, second = (v.command for v in corners["neighbours share a beat"])
    assert first.base + first.count == second.base < config.lanes


def test_refused_corner_reaches_every_cause():
    # With max_rate 31 the rate field has no value that could be refused.
    for max_rate, causes in ((31, set(Refusal) - {Refusal.RATE}), (20, set(Refusal))):
        config = UnitConfig(depth=64, max_rate=max_rate)
        refused = vectors.corners(config)["refused"]
        new, reports = run(config, np.arange(64), refused)
        found = Refusal(0)
        for report in reports:
            found |= Refusal(report["refusal"])
        assert set(found) == causes
        assert new.tolist() == list(range(64))


@pytest.mark.parametrize("fmt", [bfloat16, float32], ids=str)
@pytest.mark.parametrize("depth", [1, 2, 64])
def test_float_corners_hold_what_their_names_say(fmt, depth):
    config = UnitConfig(lanes=min(depth, 8), depth=depth, gradient=fmt, max_rate=20)
    corners = vectors.corners(config)

    def words(name):
        return {int(word) for vector in corners[name] for word in vector.gradients}

    def values(name):
        return fmt.decode(sorted(words(name)))

    assert words("signed zeros") == {0, fmt.sign}
    tiny = np.abs(values("subnormals"))
    assert set(tiny) == {2.0 ** (-126 - fmt.mantissa), 2.0**-126 - tiny.min()}
    assert set(np.abs(values("smallest normal"))) == {2.0**-126}
    assert np.isnan(values("infinities and NaN")).sum() == 6
    assert set(fmt.decode([fmt.infinity, fmt.infinity | fmt.sign])) == {np.inf, -np.inf}
    quiet = {bool(word & fmt.normal >> 1) for word in words("infinities and NaN")}
    assert quiet == {False, True}
    beside = np.isfinite(values("finite beside infinite"))
    assert beside.any()
    assert not beside.all()
    assert set(np.abs(values("largest"))) == {(2 - 2.0**-fmt.mantissa) * 2.0**127}
    for name in ("subnormals", "largest", "powers of two", "close to ties"):
        settings = {(v.command.rate, v.command.resolution) for v in corners[name]}
        assert settings == {(0, 0), (0, 16), (20, 0), (20, 16)}
        assert (values(name) > 0).any()
        assert (values(name) < 0).any()
    assert set(np.frexp(values("powers of two"))[0]) == {0.5, -0.5}

    zero = np.zeros(depth, np.int64)
    _, reports = run(config, zero, corners["close to ties"])
    at_finest = [
        r
        for r, v in zip(reports, corners["close to ties"], strict=True)
        if (v.command.rate, v.command.resolution) == (0, 16)
    ]
    # Of half a step and its neighbours, those from the positive tie up and beyond the negative.
    assert sum(report["nonzero"] for report in at_finest) == 3
    _, reports = run(config, zero, corners["infinities and NaN"])
    assert all(r["elements"] == r["nonfinite"] and not r["needed_valid"] for r in reports)


@pytest.mark.parametrize("fmt", [bfloat16, float32], ids=str)
def test_most_random_float_vectors_have_steps(fmt):
    config = UnitConfig(depth=64, gradient=fmt)
    weights = vectors.initial_weights(config, 0)
    _, reports = run(config, weights, vectors.random_vectors(config, 200, 1))
    total = {name: sum(report[name] for report in reports) for name in reports[0]}
    assert total["nonzero"] > total["elements"] / 2 > total["saturated"] > total["elements"] / 20
    assert 0 < total["nonfinite"] < total["elements"] / 50


def test_beats_are_lane_aligned_and_padded_with_zeros():
    config = UnitConfig(lanes=4, depth=32)
    vector = vectors.update(6, [1, 2, 3, 4, 5, 6, 7], rate=0, resolution=3)
    beats = [beat.tolist() for beat in vectors.beats(config, vector)]
    assert beats == [[0, 0, 1, 2], [3, 4, 5, 6], [7, 0, 0, 0]]
    raising = Vector(Command(Operation.RAISE, 0, 3), np.ones(3, np.int64))
    assert list(vectors.beats(config, raising)) == []
    empty = vectors.update(6, [], rate=0, resolution=3)
    assert list(vectors.beats(config, empty)) == []
