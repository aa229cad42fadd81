"""Words as bytes, against Python's own integers."""

import zlib

import numpy as np
import pytest

from upshift import words
from upshift.formats import Fixed, bfloat16, float32

WIDTHS = (2, 7, 8, 9, 16, 17, 18, 24, 25, 32, 33, 40, 54, 57, 63, 64)


@pytest.mark.parametrize("width", WIDTHS)
def test_words_are_the_bytes_that_python_gives_and_come_back(rng, width):
    fmt, size = Fixed(width, 0), words.word_bytes(width)
    raw = rng.integers(fmt.min, fmt.max, 50, endpoint=True)
    raw[:3] = fmt.min, fmt.max, -1
    expected = b"".join(int(word).to_bytes(size, "little", signed=True) for word in raw)
    assert words.to_bytes(raw, width) == expected
    assert words.to_bytes(np.repeat(raw, 2)[::2], width) == expected, "not contiguous"
    assert words.checksum(raw, width) == zlib.crc32(expected)
    back = words.from_bytes(bytearray(expected), width)
    assert back.dtype == np.int64
    assert back.tolist() == raw.tolist()
    back += 1  # not a view of the bytes


@pytest.mark.parametrize("fmt", [bfloat16, float32])
def test_bit_patterns_of_floats_are_not_signed(fmt):
    raw = fmt.encode([-1.0, 1.0, -np.inf, 0.0])
    data = words.to_bytes(raw, fmt.width)
    assert words.from_bytes(data, fmt.width, signed=False).tolist() == raw.tolist()


@pytest.mark.parametrize("dtype", ["i1", "<i2", ">i4", ">i8"])
@pytest.mark.parametrize("width", [8, 18])
def test_any_integer_dtype(dtype, width):
    raw = np.array([-128, -1, 0, 127])
    assert words.to_bytes(raw.astype(dtype), width) == words.to_bytes(raw, width)


def test_no_words_are_no_bytes():
    assert words.to_bytes(np.zeros(0, np.int64), 18) == b""
    assert words.from_bytes(b"", 18).tolist() == []


def test_part_of_a_word_is_refused():
    with pytest.raises(ValueError, match="7 bytes are not a whole number of words of 3 bytes"):
        words.from_bytes(bytes(7), 18)
