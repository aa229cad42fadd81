"""Weights from a file: every kind, and what is refused with the file's name."""

import numpy as np
import pytest

from upshift import initial
from upshift.config import UnitConfig
from upshift.formats import Fixed

CONFIG = UnitConfig(lanes=2, weight=Fixed(6, 4), depth=8)


def test_an_array_of_raw_words(tmp_path, rng):
    words = rng.integers(-32, 32, 8)
    for dtype in (np.int8, np.int64):
        np.save(tmp_path / "w.npy", words.astype(dtype))
        loaded = initial.load(tmp_path / "w.npy", CONFIG)
        assert loaded.dtype == np.int64
        assert loaded.tolist() == words.tolist()


def test_an_array_of_values_is_encoded_and_fewer_weights_are_filled_up(tmp_path):
    np.save(tmp_path / "w.npy", np.array([0.25, -1.0, 9.0], np.float32))
    assert initial.load(tmp_path / "w.npy", CONFIG).tolist() == [4, -16, 31, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("suffix", ["hex", "mem", "txt"])
def test_hexadecimal_words_in_twos_complement(tmp_path, suffix):
    path = tmp_path / f"w.{suffix}"
    path.write_text("// six bits\n0 1f 20 // ends\n\n  3_F\n")
    assert initial.load(path, CONFIG).tolist() == [0, 31, -32, -1, 0, 0, 0, 0]


def test_thirty_two_bits(tmp_path):
    path = tmp_path / "w.hex"
    path.write_text("ffffffff 80000000 7fffffff")
    config = UnitConfig(lanes=1, weight=Fixed(32, 30), depth=3)
    assert initial.load(path, config).tolist() == [-1, -(2**31), 2**31 - 1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.npy", np.zeros(9), "9 weights are not allowed: 1 to 8"),
        ("w.npy", np.zeros(0), "0 weights are not allowed"),
        ("w.npy", np.zeros((2, 4)), r"one-dimensional, not of shape \(2, 4\)"),
        ("w.npy", np.array([32]), r"raw word 32 is not a Fixed\(6, 4\)"),
        ("w.npy", np.array([np.nan]), "NaN"),
        ("w.npy", np.array(["1"]), "integers"),
        ("w.npy", "text", "magic string"),
        ("w.hex", "00 40", "line 1: '40' is not allowed: hexadecimal, up to 6 bits"),
        ("w.hex", "00\n-1", "line 2: '-1' is not allowed"),
        ("w.hex", "@0 1", "line 1: '@0' is not allowed"),
        ("w.hex", "// nothing", "0 weights are not allowed"),
        ("w.bin", "", "'.bin' is not allowed: one of"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, name, content, message):
    path = tmp_path / name
    if isinstance(content, str):
        path.write_text(content)
    else:
        np.save(path, content)
    with pytest.raises(ValueError, match=rf"{path}: .*{message}"):
        initial.load(path, CONFIG)


def test_pickles_are_not_loaded(tmp_path):
    np.save(tmp_path / "w.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        initial.load(tmp_path / "w.npy", CONFIG)


def test_streamed_weights_have_no_initial_ones(tmp_path):
    with pytest.raises(ValueError, match="a unit of streamed weights holds none"):
        initial.load(tmp_path / "w.npy", UnitConfig(memory="streamed"))


def test_a_missing_file_is_an_error_of_the_system(tmp_path):
    with pytest.raises(OSError, match=r"none\.hex"):
        initial.load(tmp_path / "none.hex", CONFIG)
