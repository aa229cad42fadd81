"""Bursts cut into payloads change weights and reports as the whole bursts do."""

import numpy as np
import pytest

from upshift.config import UnitConfig
from upshift.formats import Fixed, bfloat16, float32
from upshift.layout import Operation
from upshift.link import gradients
from upshift.link.frames import ARGUMENTS, Encoding, Request, byte_width, max_payload, unpack
from upshift.reference import Command, step

FINEST = {"rate": 0, "resolution": 16}
COARSE = {"rate": 4, "resolution": 4}
FIELDS = ARGUMENTS[Request.UPDATE]


def pieces_of(config, base, raw, control, longest):
    """Return the pieces of a burst with their fields and gradients, as a board finds them."""
    command = Command(Operation.UPDATE, base, raw.size, **control)
    found, end = [], 0
    for piece in gradients.split(config, command, raw, longest):
        values = unpack(FIELDS, piece.payload)
        data = piece.payload[byte_width(FIELDS) :]
        assert len(piece.payload) <= longest
        assert (values["base"], values["count"]) == (base + end, piece.stop - piece.start)
        assert {name: values[name] for name in control} == control
        assert piece.start == end
        if values["encoding"] == Encoding.MASKED:
            words = gradients.masked(config, values["base"], values["count"], data)
        else:
            words = gradients.dense(config.gradient, values["count"], data)
        found.append((values, words))
        end = piece.stop
    assert end == raw.size
    return found


def check(rng, config, base, raw, control, *, longest=100):
    """Compare a burst in pieces with the whole; return how often each encoding was used."""
    weights = rng.integers(config.weight.min, config.weight.max + 1, raw.size)
    expected, whole = step(weights, raw, config=config, **control)
    used, reports = set(), []
    for values, words in pieces_of(config, base, raw, control, longest):
        start = values["base"] - base
        part = weights[start : start + values["count"]]
        part[:], report = step(part, words, config=config, **control)
        reports.append(report)
        used.add(values["encoding"])
    assert weights.tolist() == expected.tolist()
    for name in ("elements", "nonzero", "saturated", "nonfinite"):
        assert sum(getattr(report, name) for report in reports) == getattr(whole, name)
    needed = [r.resolution_needed for r in reports if r.resolution_needed is not None]
    assert min(needed, default=None) == whole.resolution_needed
    assert len(used) == 1
    return used.pop()


def test_random_bursts(rng):
    used = []
    for n in range(1000):
        width = int(rng.integers(2, 33))
        kinds = (Fixed(width, int(rng.integers(width + 1))),) * 8 + (bfloat16, float32)
        config = UnitConfig(
            lanes=1 << int(rng.integers(6)),
            depth=1024,
            weight=Fixed(int(bits := rng.integers(2, 33)), int(rng.integers(bits + 1))),
            gradient=(gradient := kinds[n % 10]),
        )
        size = int(rng.integers(1, 300))
        base = int(rng.integers(config.depth - size + 1))
        words = rng.integers(0, 1 << gradient.width, size)
        if isinstance(gradient, Fixed):
            words = (words + gradient.min) >> rng.integers(gradient.width)
        words[rng.random(size) < rng.random() * rng.integers(2)] = 0
        control = {
            "rate": int(rng.integers(32)),
            "resolution": int(rng.integers(config.max_resolution + 1)),
        }
        longest = max_payload(1 << int(rng.integers(7, 12)))
        used.append(check(rng, config, base, words, control, longest=longest))
    assert 100 < used.count(Encoding.MASKED) < 950


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64])
def test_steps_next_to_a_tie(rng, dtype):
    config = UnitConfig(lanes=4, depth=512)
    fraction = config.gradient.fraction
    encodings = set()
    for rate in range(32):
        for resolution in range(config.max_resolution + 1):
            power = rate - resolution + fraction - 1
            half = 1 << min(max(power, 0), 14)
            corners = np.array([0, 0, 0, 1, -1, half - 1, half, -half, -half - 1, half // 2])
            high = np.iinfo(dtype)
            words = np.tile(np.clip(corners, high.min, high.max), 6).astype(dtype)
            words = words[: int(rng.integers(1, words.size + 1))]
            base = int(rng.integers(9))
            control = {"rate": rate, "resolution": resolution}
            encodings.add(check(rng, config, base, words, control))
    assert Encoding.MASKED in encodings


@pytest.mark.parametrize("fmt", [bfloat16, float32], ids=str)
def test_floats_next_to_a_tie_and_not_finite(rng, fmt):
    config = UnitConfig(lanes=4, depth=512, gradient=fmt)
    encodings = set()
    for rate, resolution in ((0, 0), (0, 16), (31, 0), (31, 16), (5, 7)):
        tie = int(fmt.encode(2.0 ** (rate - resolution - 1)))
        positive = [0, 0, 0, 1, tie - 1, tie, tie + 1, fmt.infinity - 1]
        corners = np.array([*positive, *(fmt.sign | word for word in positive)])
        others = np.array([fmt.infinity, fmt.infinity + 1, fmt.sign | fmt.infinity])
        for chance in (0.0, 0.1, 1.0):
            words = rng.choice(corners, 60)
            where = rng.random(60) < chance
            words[where] = rng.choice(others, int(where.sum()))
            control = {"rate": rate, "resolution": resolution}
            encodings.add(check(rng, config, int(rng.integers(9)), words, control))
        lonely = np.zeros(60, np.int64)
        lonely[[3, 20, 40]] = tie - 1, fmt.infinity + 1, fmt.sign  # no step, but q_min and a NaN
        assert check(rng, config, 2, lonely, control) == Encoding.MASKED
    assert encodings == {Encoding.DENSE, Encoding.MASKED}


def test_small_gradients_are_left_out_only_if_the_report_cannot_tell(rng):
    config = UnitConfig(lanes=8, depth=256)
    words = np.tile([3, 0, -2, 0, 0, 0, 0, 1], 32)
    everything = pieces_of(config, 0, words, COARSE, 500)
    assert np.concatenate([found for _, found in everything]).tolist() == words.tolist()
    words[77] = 1 << 14
    ((values, found),) = pieces_of(config, 0, words, COARSE, 500)
    assert values["encoding"] == Encoding.MASKED
    assert np.flatnonzero(found).tolist() == [77]


def test_a_burst_with_one_step_is_one_short_frame():
    config = UnitConfig(lanes=32, depth=1 << 16)
    words = np.zeros(60_000, np.int16)
    words[12_345] = 1 << 14
    command = Command(Operation.UPDATE, 3, words.size, 0, 4)
    found = list(gradients.split(config, command, words, max_payload(16384)))
    assert len(found) == 1
    assert len(found[0].payload) == byte_width(FIELDS) + 4 * 1876 + 2


def test_no_piece_has_more_gradients_than_its_field_can_tell():
    config = UnitConfig(lanes=32, gradient=Fixed(2, 0), depth=1 << 18)
    words = np.zeros(1 << 18, np.int8)
    found = pieces_of(config, 0, words, COARSE, 1 << 17)
    assert [values["count"] for values, _ in found] == [65504] * 4 + [128]


def test_pieces_end_with_whole_beats(rng):
    config = UnitConfig(lanes=8, depth=4096)
    for base in range(9):
        words = rng.integers(-(2**15), 2**15, 1500)
        found = pieces_of(config, base, words, FINEST, max_payload(1024))
        ends = [values["base"] + values["count"] for values, _ in found]
        assert [end % 8 for end in ends[:-1]] == [0] * (len(ends) - 1)


def test_beats_longer_than_a_frame_are_cut(rng):
    config = UnitConfig(lanes=32, gradient=Fixed(32, 20), depth=1024)
    words = rng.integers(-(2**31), 2**31, 500)
    assert check(rng, config, 5, words, FINEST, longest=max_payload(128)) == Encoding.DENSE


def test_short_and_long_data():
    config = UnitConfig(lanes=4, depth=64)
    word18 = Fixed(18, 16)
    assert gradients.dense(Fixed(16, 12), 3, b"\1\0\2").tolist() == [1, 2, 0]
    assert gradients.dense(word18, 2, b"\0\0\2\xff\xff\xfdmore").tolist() == [
        -(1 << 17),
        131071,
    ]
    masked = bytes.fromhex("f9 0100 0200 03")  # lanes 0 and 3; the bits above are no lanes
    assert gradients.masked(config, 3, 2, masked).tolist() == [2, 0]
    assert gradients.masked(config, 0, 6, masked).tolist() == [1, 0, 0, 2, 0, 0]
    assert gradients.masked(config, 7, 1, b"").tolist() == [0]
