"""What every device promises, checked on each of them."""

import zlib
from dataclasses import replace

import numpy as np
import pytest

import upshift.device
from upshift.config import UnitConfig
from upshift.device import Device, DeviceError, RefusedError
from upshift.device.link import LinkDevice
from upshift.formats import Fixed, bfloat16
from upshift.link.board import BoardModel
from upshift.link.config import LinkConfig
from upshift.link.faults import ModelLine
from upshift.reference import step
from upshift.report import Refusal
from upshift.vectors import near_steps
from upshift_hw.link import ByteLink, LinkedUnit

CONFIG = UnitConfig(lanes=4, depth=64, max_rate=20)
WIDE = UnitConfig(lanes=2, depth=16, weight=Fixed(32, 30), gradient=Fixed(32, 28))
GOOD = {"rate": 1, "resolution": 9}


class DeviceContract:
    """Subclasses say which device: its URL, or else how to open one that is new."""

    url: str

    def configured(self, config):
        """Return the configuration of the device that `open` opens."""
        return config

    def open(self, config):
        return upshift.device.open(self.url, self.configured(config))

    @pytest.fixture
    def device(self, cache):
        with self.open(CONFIG) as device:
            yield device

    @pytest.fixture
    def loaded(self, device):
        """Weights count up from -32."""
        device.write(0, np.arange(-32, 32))
        return device

    def all_of(self, device):
        return device.read(0, device.config.depth).tolist()

    # -- reading and writing ------------------------------------------------------------------

    def test_it_is_a_device_with_its_configuration(self, device):
        assert isinstance(device, Device)
        assert device.config == self.configured(CONFIG)

    @pytest.mark.parametrize(
        ("base", "count"),
        [(0, 64), (0, 4), (8, 12), (0, 1), (63, 1), (3, 1), (3, 2), (2, 61), (5, 8)],
    )
    def test_what_was_written_is_read(self, loaded, rng, base, count):
        weight = CONFIG.weight
        words = rng.integers(weight.min, weight.max + 1, count)
        words[0] = weight.min
        loaded.write(base, words)
        expected = np.arange(-32, 32)
        expected[base : base + count] = words
        read = loaded.read(base, count)
        assert (read.dtype, read.shape) == (np.int64, (count,))
        assert read.tolist() == words.tolist()
        assert self.all_of(loaded) == expected.tolist()

    def test_float_weights_are_encoded_with_saturation(self, device):
        device.write(0, [0.5, -0.5 - 2**-17, 7.0, -np.inf])
        assert device.read(0, 4).tolist() == [1 << 15, -(1 << 15), (1 << 17) - 1, -(1 << 17)]

    def test_the_result_of_a_read_is_a_copy(self, loaded):
        loaded.read(0, 4)[:] = 99
        assert loaded.read(0, 4).tolist() == [-32, -31, -30, -29]

    @pytest.mark.parametrize(("base", "count"), [(0, 64), (0, 1), (63, 1), (5, 8), (4, 4)])
    def test_the_checksum_is_the_crc_of_what_is_read(self, device, rng, base, count):
        weight = CONFIG.weight
        device.write(0, rng.integers(weight.min, weight.max + 1, 64))
        pending = device.submit(base, [640], **GOOD)
        crc = device.checksum(base, count)
        assert type(crc) is int
        held = [int(word).to_bytes(3, "little", signed=True) for word in device.read(base, count)]
        assert crc == zlib.crc32(b"".join(held))
        pending.result()
        device.write(base, device.read(base, 1) ^ 1)
        assert device.checksum(base, count) != crc

    @pytest.mark.parametrize(("base", "count"), [(0, 0), (0, 65), (64, 1), (-1, 2), (5, -1)])
    def test_a_checksum_of_what_is_not_there_is_refused(self, loaded, base, count):
        with pytest.raises(ValueError, match="are not allowed: one or more within 0 to 63"):
            loaded.checksum(base, count)

    # -- updating -----------------------------------------------------------------------------

    def test_random_updates_equal_the_model(self, device, rng):
        weights = rng.integers(CONFIG.weight.min, CONFIG.weight.max + 1, 64)
        device.write(0, weights)
        for _ in range(60):
            base = int(rng.integers(64))
            count = int(rng.integers(1, 65 - base))
            words = rng.integers(-(2**15), 2**15, count) >> rng.integers(16)
            control = {"rate": int(rng.integers(21)), "resolution": int(rng.integers(17))}
            part = weights[base : base + count]
            part[:], expected = step(part, words, config=CONFIG, **control)
            assert device.update(base, words, **control) == expected
        assert self.all_of(device) == weights.tolist()

    def test_wide_formats_equal_the_model(self, cache, rng):
        with self.open(WIDE) as device:
            ends = [WIDE.weight.min, WIDE.weight.max] * 8
            device.write(0, ends)
            words = rng.integers(WIDE.gradient.min, WIDE.gradient.max + 1, 16)
            weights, expected = step(ends, words, config=WIDE, rate=3, resolution=30)
            assert device.update(0, words, rate=3, resolution=30) == expected
            assert self.all_of(device) == weights.tolist()

    def test_floating_point_formats_equal_the_model(self, cache, rng):
        config = replace(CONFIG, gradient=bfloat16)
        with self.open(config) as device:
            raw = rng.integers(1 << 16, size=60)
            raw[:9] = [0, 0x8000, 1, 0x8001, 0x7F80, 0xFF80, 0x7F81, 0xFFC0, 0xFF7F]
            raw[9:] = near_steps(config, raw[9:], rate=3, resolution=9)
            old = rng.integers(config.weight.min, config.weight.max + 1, 60)
            device.write(2, old)
            weights, expected = step(old, raw, config=config, rate=3, resolution=9)
            assert expected.nonfinite >= 4
            assert expected.nonzero > 20
            assert device.update(2, raw, rate=3, resolution=9) == expected
            assert device.read(2, 60).tolist() == weights.tolist()
            values = np.array([3.3e38, -1e39, 0.5, -0.0])
            raw, clipped = bfloat16.encode_counted(values)
            new, expected = step(weights[:4], raw, config=config, rate=0, resolution=16)
            report = device.update(2, values, rate=0, resolution=16)
            assert report == expected._replace(clipped=clipped)
            assert (report.clipped, report.nonfinite) == (1, 1)
            assert device.read(2, 4).tolist() == new.tolist()

    def test_float_gradients_are_values_and_clipped_is_counted(self, loaded):
        values = np.array([1.0, -1.0, 9.0, -np.inf, 2.0**-13, -(2.0**-13)], np.float32)
        report = loaded.update(4, values, **GOOD)
        raw, clipped = CONFIG.gradient.encode_counted(values)
        weights, expected = step(np.arange(-28, -22), raw, config=CONFIG, **GOOD)
        assert clipped == 2
        assert report == expected._replace(clipped=2)
        assert loaded.read(4, 6).tolist() == weights.tolist()
        assert loaded.update(4, raw, **GOOD).clipped == 0

    @pytest.mark.parametrize(
        "dtype",
        ["i1", "<i2", ">i2", "<i4", ">i4", "<i8", ">i8", "u1", "<u2", ">u2", "<u4", "<u8", ">u8"],
    )
    def test_integer_gradients_are_raw_words_of_any_dtype(self, loaded, dtype):
        dtype = np.dtype(dtype)
        words = [3, 120, 0, 77, 1] if dtype.kind == "u" else [3, -120, 0, 77, -1]
        report = loaded.update(2, np.array(words, dtype), **GOOD)
        weights, expected = step(np.arange(-30, -25), words, config=CONFIG, **GOOD)
        assert report == expected
        assert loaded.read(2, 5).tolist() == weights.tolist()
        loaded.write(2, np.array([1, 2, 3], dtype))
        assert loaded.read(2, 3).tolist() == [1, 2, 3]

    def test_views_that_are_not_contiguous(self, loaded):
        table = np.arange(60, dtype=np.int16).reshape(6, 10) * 100
        for view in (table[:, 3], table[2, ::-2], table.T[4], np.broadcast_to(np.int16(500), 5)):
            before = loaded.read(1, view.size)
            report = loaded.update(1, view, **GOOD)
            weights, expected = step(before, view.copy(), config=CONFIG, **GOOD)
            assert report == expected
            assert loaded.read(1, view.size).tolist() == weights.tolist()
        loaded.write(0, table[:, 0])
        assert loaded.read(0, 6).tolist() == [0, 1000, 2000, 3000, 4000, 5000]

    def test_the_caller_may_reuse_its_array_after_submit(self, loaded):
        words = np.full(8, 640, np.int16)
        pending = loaded.submit(0, words, **GOOD)
        words[:] = -5
        weights, expected = step(np.arange(-32, -24), [640] * 8, config=CONFIG, **GOOD)
        assert pending.result() == expected
        assert loaded.read(0, 8).tolist() == weights.tolist()

    def test_many_submits_are_applied_in_order(self, loaded, rng):
        weights = np.arange(-32, 32)
        pending, expected = [], []
        for n in range(700):
            base, count = int(rng.integers(60)), int(rng.integers(1, 5))
            words = rng.integers(-(2**15), 2**15, count).astype(
                (np.int16, np.int32, np.int64)[n % 3]
            )
            control = {"rate": n % 21, "resolution": 16 - n % 3}
            pending.append(loaded.submit(base, words, **control))
            part = weights[base : base + count]
            part[:], report = step(part, words, config=CONFIG, **control)
            expected.append(report)
        assert self.all_of(loaded) == weights.tolist(), "a read sees all that was submitted"
        order = rng.permutation(700)
        assert [pending[n].result() for n in order] == [expected[n] for n in order]
        assert pending[5].result() == expected[5], "a result may be asked for again"

    # -- errors change nothing ------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ({"gradients": [[1, 2]]}, ValueError, r"one-dimensional, not of shape \(1, 2\)"),
            ({"gradients": 1}, ValueError, r"gradients must be one-dim.*, not of shape \(\)"),
            ({"gradients": [0.0, np.nan]}, ValueError, "NaN"),
            ({"gradients": [True]}, TypeError, "bool"),
            ({"gradients": [1j]}, TypeError, "complex"),
            ({"gradients": ["1"]}, TypeError, "integers"),
            ({"gradients": []}, ValueError, "weights 0 to -1 are not allowed"),
            ({"base": -1}, ValueError, "weights -1 to -1 are not allowed: .* 0 to 63"),
            ({"base": 64}, ValueError, "weights 64 to 64 are not allowed"),
            ({"base": 60, "gradients": [1] * 5}, ValueError, "weights 60 to 64 are not allowed"),
            ({"rate": 21}, ValueError, "rate exponent 21 is not allowed: 0 to 20"),
            ({"rate": -1}, ValueError, "rate exponent -1 is not allowed"),
            ({"resolution": 17}, ValueError, "resolution 17 is not allowed"),
            ({"resolution": -1}, ValueError, "resolution -1 is not allowed"),
            ({"gradients": [1 << 15]}, ValueError, r"word 32768 is not a Fixed\(16, 12\)"),
            ({"gradients": np.array([1 << 15], np.uint16)}, ValueError, "raw word 32768"),
            ({"gradients": np.array([-(1 << 40)])}, ValueError, "raw word -1099511627776"),
        ],
    )
    def test_bad_updates(self, loaded, change, error, message):
        with pytest.raises(error, match=message):
            loaded.update(**({"base": 0, "gradients": [1]} | GOOD | change))
        assert self.all_of(loaded) == list(range(-32, 32))
        assert loaded.counters().bursts == 0

    @pytest.mark.parametrize("change", [{"base": 1.5}, {"rate": 1.5}, {"resolution": 9.5}])
    def test_numbers_that_are_not_integers_are_not_rounded(self, loaded, change):
        with pytest.raises(TypeError):
            loaded.update(**({"base": 0, "gradients": [640]} | GOOD | change))
        assert self.all_of(loaded) == list(range(-32, 32))
        loaded.update(3, [640], **GOOD)
        assert self.all_of(loaded)[:3] == [-32, -31, -30], "nothing is left in a queue"

    @pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int16, np.int64, np.uint64])
    def test_integers_of_numpy_are_integers(self, loaded, kind):
        loaded.write(kind(3), [5])
        assert loaded.read(kind(3), kind(1)).tolist() == [5]
        report = loaded.update(kind(3), [640], rate=kind(6), resolution=kind(9))
        weights, expected = step([5], [640], config=CONFIG, rate=6, resolution=9)
        assert report == expected
        assert loaded.read(3, 1).tolist() == weights.tolist()

    @pytest.mark.parametrize(
        ("base", "weights", "error", "message"),
        [
            (0, [[1]], ValueError, "weights must be one-dimensional"),
            (0, [0.5, np.nan], ValueError, "NaN"),
            (62, [1, 2, 3], ValueError, "weights 62 to 64 are not allowed"),
            (-2, [1, 2, 3], ValueError, "weights -2 to 0 are not allowed"),
            (0, [], ValueError, "are not allowed: one or more"),
            (0, [1 << 17], ValueError, r"raw word 131072 is not a Fixed\(18, 16\)"),
            (0, [None], TypeError, "object"),
        ],
    )
    def test_bad_writes(self, loaded, base, weights, error, message):
        with pytest.raises(error, match=message):
            loaded.write(base, weights)
        assert self.all_of(loaded) == list(range(-32, 32))

    @pytest.mark.parametrize(("base", "count"), [(0, 0), (0, 65), (64, 1), (-1, 2), (5, -1)])
    def test_bad_reads(self, loaded, base, count):
        with pytest.raises(ValueError, match="are not allowed: one or more within 0 to 63"):
            loaded.read(base, count)

    def test_a_closed_device_says_so(self, loaded):
        loaded.close()
        loaded.close()  # closing twice is harmless
        for call in (
            lambda: loaded.read(0, 1),
            lambda: loaded.checksum(0, 1),
            lambda: loaded.write(0, [1]),
            lambda: loaded.update(0, [1], **GOOD),
            lambda: loaded.submit(0, [1], **GOOD),
        ):
            with pytest.raises(DeviceError, match="the device is closed"):
                call()

    def test_floor_and_counters_of_a_closed_device(self, loaded):
        loaded.close()
        for call in (lambda: loaded.raise_floor(3), loaded.counters):
            with pytest.raises(DeviceError, match="the device is closed"):
                call()

    def test_the_context_manager_closes_and_what_was_submitted_is_done(self, cache):
        with self.open(CONFIG) as device:
            pending = device.submit(0, [64], **GOOD)
        with pytest.raises(DeviceError, match="the device is closed"):
            device.read(0, 1)
        assert pending.result().elements == 1

    def test_a_new_device_starts_anew(self, loaded):
        with self.open(CONFIG) as other:
            other.write(0, [7])
            assert loaded.read(0, 1).tolist() == [-32]
            assert other.counters().bursts == 0

    # -- the floor ------------------------------------------------------------------------------

    def test_below_the_floor_the_unit_refuses_and_changes_nothing(self, loaded):
        loaded.raise_floor(9)
        with pytest.raises(RefusedError, match="refused the command: floor; no weight") as refused:
            loaded.update(0, [640] * 8, rate=0, resolution=8)
        assert refused.value.refusal == Refusal.FLOOR
        assert self.all_of(loaded) == list(range(-32, 32))
        assert loaded.update(0, [640] * 8, rate=0, resolution=9).nonzero == 8

    def test_a_refusal_in_a_queue_of_bursts_is_raised_by_its_own_result(self, loaded):
        loaded.raise_floor(9)
        words = np.full(6, 640)
        pending = [loaded.submit(1, words, rate=0, resolution=q) for q in (9, 8, 16)]
        weights = np.arange(-31, -25)
        weights, first = step(weights, words, config=CONFIG, rate=0, resolution=9)
        weights, last = step(weights, words, config=CONFIG, rate=0, resolution=16)
        assert pending[0].result() == first
        with pytest.raises(RefusedError):
            pending[1].result()
        assert pending[2].result() == last
        assert loaded.read(1, 6).tolist() == weights.tolist()

    def test_the_floor_never_falls(self, loaded):
        loaded.raise_floor(5)
        loaded.raise_floor(5)
        loaded.raise_floor(7)
        with pytest.raises(RefusedError, match="floor"):
            loaded.raise_floor(6)
        with pytest.raises(ValueError, match="resolution 17 is not allowed"):
            loaded.raise_floor(17)
        with pytest.raises(RefusedError, match="floor"):
            loaded.update(0, [1], rate=0, resolution=6)
        loaded.update(0, [1], rate=0, resolution=7)

    # -- counters -------------------------------------------------------------------------------

    def test_counters_count_the_work_done(self, loaded):
        loaded.update(3, [64] * 10, **GOOD)  # four beats: lanes 3, 0-3, 0-3, 0
        loaded.update(0, [64] * 64, **GOOD)
        loaded.update(63, [64], **GOOD)
        counters = loaded.counters()
        assert (counters.bursts, counters.elements, counters.beats) == (3, 75, 4 + 16 + 1)

    def test_refused_bursts_and_raises_are_not_bursts(self, loaded):
        loaded.raise_floor(9)
        with pytest.raises(RefusedError):
            loaded.update(0, [64] * 8, rate=0, resolution=3)
        counters = loaded.counters()
        assert (counters.bursts, counters.elements, counters.beats) == (0, 0, 2)


class TestModel(DeviceContract):
    url = "model:"

    def test_it_has_no_clock(self, device):
        counters = device.counters()
        assert (counters.clocks, counters.stalls, counters.waits) == (None, None, None)


class TestRtl(DeviceContract):
    url = "rtl:"

    def test_clocks_are_beats_stalls_and_waits(self, loaded, rng):
        for _ in range(200):
            base = int(rng.integers(60))
            loaded.submit(base, np.ones(int(rng.integers(1, 5)), np.int16), **GOOD)
        counters = loaded.counters()
        assert counters.clocks == counters.beats + counters.stalls + counters.waits
        assert counters.stalls == 0
        assert counters.waits > 0

    def test_back_to_back_bursts_take_one_clock_per_beat(self, loaded):
        for n in range(200):
            loaded.submit(n % 2 * 32, np.full(32, n, np.int16), **GOOD)
        counters = loaded.counters()
        assert (counters.clocks, counters.beats) == (1600, 1600)
        assert (counters.stalls, counters.waits) == (0, 0)


class TestRtlStreamed(DeviceContract):
    """The weights are in host memory, and stream through the unit."""

    url = "rtl:"

    def configured(self, config):
        return replace(config, memory="streamed")

    def test_no_weight_is_waited_for_in_the_unit(self, loaded):
        for n in range(200):
            loaded.submit(n % 2 * 32, np.full(32, n, np.int16), **GOOD)
        counters = loaded.counters()
        assert (counters.clocks, counters.beats) == (1600, 1600)
        assert (counters.stalls, counters.waits) == (0, 0)

    def test_a_row_that_is_under_way_is_a_stall(self, loaded):
        for _ in range(10):
            loaded.submit(0, np.ones(4, np.int16), **GOOD)
        counters = loaded.counters()
        assert counters.stalls == counters.clocks - counters.beats > 0


class TestRtlUpdates(DeviceContract):
    url = "rtl:"

    def configured(self, config):
        return replace(config, updates=True)

    def test_a_reader_of_updates_comes_to_know_the_same_weights(self, loaded, rng):
        for _ in range(50):
            base = int(rng.integers(60))
            words = rng.integers(-(2**15), 2**15, int(rng.integers(1, 5)))
            loaded.submit(base, words, **GOOD)
        assert loaded.mirrored().tolist() == self.all_of(loaded) != list(range(-32, 32))


class TestModelStreamed(DeviceContract):
    """The model does not care where the weights are."""

    url = "model:"

    def configured(self, config):
        return replace(config, memory="streamed")


class TestLink(DeviceContract):
    """The driver in front of the model of a board; short frames, so that bursts take several."""

    def open(self, config):
        link = LinkConfig(clock=12_000_000, baud=3_000_000, frame_bytes=128)
        return LinkDevice(ModelLine(BoardModel(config, link)), config)

    def test_weights_are_far_away(self, device):
        assert device.distant


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"memory": "streamed"}, "a link reaches resident weights only, not streamed ones"),
        ({"updates": True}, "a link takes no updates"),
    ],
)
def test_units_that_cannot_stand_behind_a_link_are_refused(change, message):
    link = LinkConfig(clock=12_000_000, baud=3_000_000)
    config = replace(CONFIG, **change)
    for make in (BoardModel, LinkedUnit, ByteLink):
        with pytest.raises(ValueError, match=message):
            make(config, link)


def test_only_a_unit_with_updates_tells_of_them(cache):
    with (
        upshift.device.open("rtl:", CONFIG) as device,
        pytest.raises(ValueError, match="only a unit with updates"),
    ):
        device.mirrored()
