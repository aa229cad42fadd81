"""Compiled RTL: its cache, what goes wrong without tools, faults, and its hazard waits."""

import os
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest

import upshift.device
from upshift import native, vectors
from upshift.config import UnitConfig
from upshift.device import DeviceError
from upshift.formats import Fixed
from upshift.layout import Operation
from upshift.reference import Command
from upshift.vectors import Vector
from upshift_hw import yosys
from upshift_sim import compiled, pysim
from upshift_sim.rtl import RtlDevice

CONFIG = UnitConfig(lanes=4, depth=64, max_rate=20)
TINY = UnitConfig(lanes=1, depth=4, weight=Fixed(4, 2), gradient=Fixed(4, 2), max_rate=0)


def phases_of(config, **options):
    with RtlDevice(config, **options) as device:
        return list(device.opening)


# -- the cache ----------------------------------------------------------------------------------


def test_a_unit_is_compiled_once(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = phases_of(TINY)
    assert first == [
        "gateware to RTLIL",
        "RTLIL to C++ (Yosys)",
        "C++ to native code (compiler)",
    ]
    (library,) = (tmp_path / "upshift").rglob("*.so")
    left = [path for path in (tmp_path / "upshift").rglob("*") if path.is_file()]
    assert left == [library], "nothing but the library stays"
    assert phases_of(TINY) == first[:1]
    assert [*(tmp_path / "upshift").rglob("*.so")] == [library]


def test_the_cache_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert native.cache_directory() == tmp_path / "cache" / "upshift"
    monkeypatch.setenv("HOME", str(tmp_path))
    for unset in ("", None):
        if unset is None:
            monkeypatch.delenv("XDG_CACHE_HOME")
        else:
            monkeypatch.setenv("XDG_CACHE_HOME", unset)
        assert native.cache_directory() == tmp_path / ".cache" / "upshift"


def key_of(monkeypatch, tmp_path, config=TINY, **change):
    """Name of the library that `build` looks for, without building it."""
    asked = []
    for name, value in change.items():
        monkeypatch.setattr(native if hasattr(native, name) else compiled, name, value)
    with monkeypatch.context() as context:
        context.setenv("XDG_CACHE_HOME", str(tmp_path))
        context.setattr(Path, "exists", lambda path: asked.append(path.name) or True)
        compiled.build(config)
    monkeypatch.undo()
    return asked[-1]


def test_the_key_is_made_of_everything_that_goes_in(monkeypatch, tmp_path):
    def key(config=TINY, **change):
        return key_of(monkeypatch, tmp_path, config, **change)

    assert key() == key()
    others = [
        key(UnitConfig(lanes=1, depth=8, weight=Fixed(4, 2), gradient=Fixed(4, 2), max_rate=0)),
        key(_FLAGS=["-O0"]),
        key(_SCRIPT="read_rtlil unit.il"),
        key(processor=lambda: "abacus"),
    ]
    assert len({key(), *others}) == 1 + len(others)


# -- what can be missing ------------------------------------------------------------------------


def test_without_a_compiler(monkeypatch, cache):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(DeviceError, match=r"needs a C\+\+ compiler, .*'apt install g\+\+'"):
        upshift.device.open("rtl:", TINY)


def test_with_an_empty_path(monkeypatch, cache, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match=r"none of c\+\+, g\+\+, clang\+\+ is on the PATH"):
        upshift.device.open("rtl:", TINY)


def test_a_compiler_that_fails(monkeypatch, tmp_path):
    compiler = tmp_path / "c++"
    compiler.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && { echo "broken 1.0"; exit 0; }\n'
        "echo 'harness.cpp:1: error: out of sorts' >&2\nexit 1\n"
    )
    compiler.chmod(compiler.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(
        DeviceError, match=r"could not be compiled: .*c\+\+ failed:\n.*out of sorts"
    ):
        upshift.device.open("rtl:", TINY)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()], "cleaned up"


def test_a_yosys_that_fails(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compiled, "_SCRIPT", "read_rtlil nothing_here.il")
    with pytest.raises((DeviceError, RuntimeError), match=r"Yosys failed .*\n[^$]*nothing_here"):
        upshift.device.open("rtl:", TINY)


def test_feedback_wires_are_noticed(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(yosys, "run", lambda *_: "Warning: Design contains feedback wires, which")
    with pytest.raises(DeviceError, match="the design has feedback wires"):
        upshift.device.open("rtl:", TINY)


def test_a_unit_with_another_identity_is_refused(monkeypatch, cache):
    library = compiled.build(CONFIG)
    monkeypatch.setattr(compiled, "build", lambda config, **options: library)
    with pytest.raises(DeviceError, match=r"the unit's digest_high register is 0x\w+, not 0x\w+"):
        RtlDevice(UnitConfig(lanes=4, depth=64, max_rate=19))


# -- faults -------------------------------------------------------------------------------------


def test_a_seeded_fault_is_noticed(cache):
    weights = vectors.initial_weights(CONFIG, 0)
    some = vectors.random_vectors(CONFIG, 150, 0)
    expected, reports = vectors.expect(CONFIG, weights, some)
    outcomes = []
    for url in ("rtl:", "rtl:?fault=1"):
        with upshift.device.open(url, CONFIG) as device:
            device.write(0, weights)
            outcome = device.play(some)
            outcomes.append((device.read(0, CONFIG.depth).tolist(), outcome))
    assert outcomes[0] == (expected.tolist(), reports)
    assert outcomes[1] != outcomes[0]


# -- commands as they are -----------------------------------------------------------------------


def test_play_equals_the_model_on_the_standard_vectors(cache, seed):
    some = vectors.standard(CONFIG, 300, seed)  # more than one queue of bursts
    weights = vectors.initial_weights(CONFIG, seed)
    expected, reports = vectors.expect(CONFIG, weights, some)
    with upshift.device.open("rtl:", CONFIG) as device:
        device.write(0, weights)
        assert device.play(some) == reports
        assert device.read(0, CONFIG.depth).tolist() == expected.tolist()


def test_play_keeps_the_stream_in_step_after_every_refusal(cache):
    def burst(base, count, *, rate=0, resolution=16):
        words = np.arange(1, count + 1) * 100
        return Vector(Command(Operation.UPDATE, base, count, rate, resolution), words)

    some = []
    for refused in (
        burst(3, 0),  # empty, and not aligned
        burst(60, 9),
        burst(1, 5, rate=21),
        burst(2, 7, resolution=17),
        Vector(Command(Operation.RAISE, 3, 9, 0, 17), np.zeros(0, np.int64)),
    ):
        some += [burst(5, 6), refused, burst(7, 3)]
    weights = np.zeros(CONFIG.depth, np.int64)
    expected, reports = vectors.expect(CONFIG, weights, some)
    with upshift.device.open("rtl:", CONFIG) as device:
        assert device.play(some) == reports
        assert device.read(0, CONFIG.depth).tolist() == expected.tolist()
        counters = device.counters()
        assert counters.bursts == 10
        assert counters.elements == 5 * 9


# -- time ---------------------------------------------------------------------------------------


def test_clocks_equal_those_of_the_amaranth_simulator(cache, seed):
    some = vectors.standard(CONFIG, 60, seed)
    weights = vectors.initial_weights(CONFIG, seed)
    with upshift.device.open("rtl:", CONFIG) as device:
        device.write(0, weights)
        device.play(some)
        counters = device.counters()
    simulated = pysim.simulate(CONFIG, weights, some).counters
    assert simulated == {name: getattr(counters, name) for name in simulated}


@pytest.mark.parametrize(("beats", "waits"), [(1, 3), (2, 2), (3, 1), (4, 0), (5, 0)])
def test_bursts_on_the_same_rows_wait_as_documented(cache, beats, waits):
    with upshift.device.open("rtl:", CONFIG) as device:
        for _ in range(10):
            device.submit(8, np.ones(4 * beats, np.int16), rate=0, resolution=16)
        counters = device.counters()
        assert counters.waits == 9 * waits
        assert counters.clocks == 10 * beats + 9 * waits


def test_neighbours_that_share_a_beat_never_wait(cache):
    with upshift.device.open("rtl:", CONFIG) as device:
        for base in range(64):
            device.submit(base, np.ones(1, np.int16), rate=0, resolution=16)
        counters = device.counters()
        assert (counters.clocks, counters.beats, counters.waits) == (64, 64, 0)


def test_counters_do_not_wrap(cache, monkeypatch):
    """Registers hold 32 bits; the device goes on counting."""
    with upshift.device.open("rtl:", CONFIG) as device:
        offset = (1 << 32) - 10
        read = device.read_register
        monkeypatch.setattr(device, "read_register", lambda name: (read(name) + offset) % (1 << 32))
        device._seen = dict.fromkeys(device._seen, offset)
        device.update(0, np.ones(64, np.int16), rate=0, resolution=16)
        assert device.counters().beats == 16


def test_bare_loop_runs_beats_and_reports_seconds(cache):
    with upshift.device.open("rtl:", CONFIG) as device:
        before = device.counters().beats
        seconds = device.bare_loop(5, 16, np.ones((3, 4), np.int64))
        assert seconds > 0
        assert device.counters().beats - before >= 5 * 16
        with pytest.raises(ValueError, match=r"shape \(3, 5\) are not rows of lanes"):
            device.bare_loop(1, 1, np.ones((3, 5), np.int64))


# -- what play refuses --------------------------------------------------------------------------


def test_play_checks_everything_before_it_sends_anything(cache):
    good = vectors.update(0, [1, 2], rate=0, resolution=16)
    with upshift.device.open("rtl:", CONFIG) as device:
        for command, words, message in (
            (Command(Operation.UPDATE, 200, 1), [1], "base 200 is not allowed"),
            (Command(Operation.UPDATE, 0, 1), [1 << 15], "raw word 32768"),
        ):
            with pytest.raises(ValueError, match=message):
                device.play([good, Vector(command, np.array(words))])
        assert not device.read(0, CONFIG.depth).any()
        assert device.counters().beats == 0
        unsigned = Vector(Command(Operation.UPDATE, 0, 1), np.array([3], np.uint64))
        assert len(device.play([unsigned, unsigned, good])) == 3
        raised = Vector(Command(Operation.RAISE, 0, 9, 0, 1), np.zeros(0, np.int64))
        device.play([raised])
        assert device.counters().elements == 4


def test_a_vector_brings_as_many_gradients_as_it_says():
    with pytest.raises(ValueError, match="comes with 2 gradients"):
        Vector(Command(Operation.UPDATE, 0, 8), np.zeros(2, np.int64))


def test_a_closed_unit_raises(cache):
    device = upshift.device.open("rtl:", CONFIG)
    device.close()
    for call in (
        lambda: device.play([]),
        lambda: device.read_register("magic"),
        lambda: device.bare_loop(1, 1, np.zeros((1, 4), np.int64)),
        device.counters,
    ):
        with pytest.raises(DeviceError, match="closed"):
            call()


def test_a_cache_that_cannot_be_written_is_told(monkeypatch, tmp_path):
    (tmp_path / "upshift").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DeviceError, match=r"could not be compiled: .*upshift"):
        upshift.device.open("rtl:", TINY)
