"""Bytes on the line: stuffing, checks and frames among noise."""

import zlib

import cobs.cobs
import pytest

from upshift.config import UnitConfig
from upshift.formats import Fixed, bfloat16, float32
from upshift.link import frames
from upshift.link.cobs import DELIMITER, decode, encode, stuffed_bytes
from upshift.link.config import LinkConfig
from upshift.link.frames import HEADER_BYTES, Frame, Request
from upshift.link.framing import FrameReader, to_line

LENGTHS = [0, 1, 2, 100, 253, 254, 255, 256, 507, 508, 509, 510, 762, 1024]
FRAME = Frame(Request.TEST, 513, 0xDEADBEEF, b"\0\0three\0")


def data_of(rng, length, zeros):
    return bytes((rng.integers(1, 256, length) * (rng.random(length) >= zeros)).astype("u1"))


@pytest.mark.parametrize("zeros", [0, 0.01, 0.3, 1])
def test_stuffing_equals_that_of_the_cobs_package(rng, zeros):
    for length in LENGTHS + rng.integers(0, 2000, 20).tolist():
        data = data_of(rng, length, zeros)
        stuffed = encode(data)
        assert stuffed == cobs.cobs.encode(data)
        assert len(stuffed) <= stuffed_bytes(length)
        assert decode(stuffed) == data


@pytest.mark.parametrize(
    ("data", "stuffed"),
    [
        (b"", b"\1"),
        (b"\0", b"\1\1"),
        (b"ab\0c", b"\3ab\2c"),
        (b"x" * 254, b"\xff" + b"x" * 254),
        (b"x" * 255, b"\xff" + b"x" * 254 + b"\2x"),
        (b"x" * 254 + b"\0", b"\xff" + b"x" * 254 + b"\1\1"),
    ],
)
def test_named_cases_of_stuffing(data, stuffed):
    assert encode(data) == stuffed
    assert decode(stuffed) == data


def test_damaged_stuffing_is_refused_as_the_cobs_package_refuses_it(rng):
    refused = 0
    for _ in range(2000):
        noise = rng.bytes(int(rng.integers(1, 12)))
        try:
            expected = cobs.cobs.decode(noise)
        except cobs.cobs.DecodeError:
            refused += 1
            with pytest.raises(ValueError, match="stuffed bytes"):
                decode(noise)
        else:
            assert decode(noise) == expected
    assert 100 < refused < 2000
    with pytest.raises(ValueError, match="empty"):
        decode(b"")


def test_the_check_is_the_usual_crc_32():
    assert zlib.crc32(b"123456789") == 0xCBF43926
    body = FRAME.to_bytes()[:-4]
    assert FRAME.to_bytes()[-4:] == zlib.crc32(body).to_bytes(4, "little")
    assert body == bytes.fromhex("06 0102 0800 efbeadde") + FRAME.payload


def test_every_damaged_bit_is_noticed():
    whole = FRAME.to_bytes()
    assert Frame.from_bytes(whole) == FRAME
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match="check is wrong"):
            Frame.from_bytes(bytes(damaged))
    for cut in range(len(whole)):
        with pytest.raises(ValueError, match=r"check|too few"):
            Frame.from_bytes(whole[:cut])


def test_a_length_that_is_not_the_headers_is_refused():
    body = FRAME.to_bytes()[:-4] + b"more"
    with pytest.raises(ValueError, match="12 bytes of payload, not 8"):
        Frame.from_bytes(body + zlib.crc32(body).to_bytes(4, "little"))


def test_frames_are_found_however_the_line_cuts_them(rng):
    sent = [Frame(3, n, n * n, rng.bytes(int(rng.integers(60)))) for n in range(50)]
    line = b"\0\0".join(to_line(frame) for frame in sent)
    reader, found = FrameReader(128), []
    while line:
        cut = int(rng.integers(1, 40))
        found += reader.feed(line[:cut])
        line = line[cut:]
    assert found == sent
    assert (reader.frames, reader.rejected) == (50, 0)


def test_after_noise_the_next_frame_is_found(rng):
    reader = FrameReader(64)
    for length in (1, 10, 100, 100_000):
        before = reader.rejected
        noise = data_of(rng, length, 0)
        assert list(reader.feed(noise)) == []
        assert list(reader.feed(DELIMITER + to_line(FRAME))) == [FRAME]
        assert reader.rejected == before + 1
    assert list(reader.feed(data_of(rng, 1000, 0.2))) == []


def test_what_is_longer_than_a_frame_is_dropped():
    payload = bytes(100 - HEADER_BYTES - 4)
    for size, longest in ((0, 100), (1, 99)):
        reader = FrameReader(longest)
        assert len(list(reader.feed(to_line(Frame(6, 0, 0, payload))))) == 1 - size
        assert (reader.frames, reader.rejected) == (1 - size, size)


def test_a_frame_that_has_not_ended_can_be_forgotten():
    reader = FrameReader(100)
    assert list(reader.feed(b"\5abc")) == []
    reader.clear()
    assert list(reader.feed(to_line(FRAME))) == [FRAME]


@pytest.mark.parametrize(
    "config",
    [
        UnitConfig(),
        UnitConfig(
            lanes=32, weight=Fixed(32, 5), gradient=bfloat16, depth=1 << 20, max_rate=0, pipeline=8
        ),
        UnitConfig(lanes=1, weight=Fixed(2, 2), gradient=float32, depth=7, max_rate=63),
    ],
)
def test_the_identity_tells_the_configuration(config):
    values = frames.identity(config, LinkConfig(50_000_000, 3_000_000))
    assert frames.configuration(values) == config
    fields = frames.ANSWERS[frames.Answer.IDENTITY]
    assert frames.unpack(fields, frames.pack(fields, values)) == values
    for name, message in (
        ("magic", "is not an update unit's"),
        ("version", "version 0x.* is not 0x"),
        ("digest_low", "digest_low 0x.* is not 0x.*, that of {"),
        ("max_rate", "digest_high 0x.* is not 0x"),
    ):
        with pytest.raises(ValueError, match=message):
            frames.configuration(values | {name: values[name] ^ 1})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clock": 0}, "clock 0 Hz is not allowed"),
        ({"baud": 4_000_000}, "baud 4000000 is not allowed at 12000000 Hz: up to 3000000"),
        ({"frame_bytes": 100}, "frame_bytes 100 is not allowed: a power of two, 128 to 16384"),
    ],
)
def test_impossible_links(change, message):
    good = {"clock": 12_000_000, "baud": 3_000_000, "frame_bytes": 1024}
    with pytest.raises(ValueError, match=message):
        LinkConfig(**good | change)
