"""The waveforms that benches record, and the views beside them."""

import gzip
import re
import struct
from pathlib import Path

import pytest

from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift_hw import export
from upshift_sim.bench import runner, view

CONFIGS = {
    "resident": UnitConfig(lanes=2, depth=16, weight=Fixed(8, 6), gradient=Fixed(8, 4)),
    "updates": UnitConfig(lanes=1, depth=8, updates=True, pipeline=7),
    "streamed": UnitConfig(lanes=2, depth=64, memory="streamed"),
}
ALWAYS = {"clock", "command", "gradients", "pipeline", "weights out", "report", "counters"}
GROUPS = {
    "resident": ALWAYS | {"memory"},
    "updates": ALWAYS | {"memory", "updates"},
    "streamed": ALWAYS | {"weights in"},
}


def in_vcd(path):
    """Paths of the signals in a VCD file, with their bounds."""
    scopes, found = [], set()
    for line in path.read_text().split("$enddefinitions")[0].splitlines():
        words = line.split()
        if words[:1] == ["$scope"]:
            scopes.append(words[2])
        elif words[:1] == ["$upscope"]:
            scopes.pop()
        elif words[:1] == ["$var"]:
            found.add(".".join(scopes) + "." + "".join(words[4:-1]))
    return found


def in_fst(path):
    """Paths of the signals in an FST file, with their bounds."""
    data, at = path.read_bytes(), 0
    while data[at] != 4:  # the compressed hierarchy
        at += 1 + struct.unpack(">Q", data[at + 1 : at + 9])[0]
    text = gzip.decompress(data[at + 17 : at + 1 + struct.unpack(">Q", data[at + 1 : at + 9])[0]])
    scopes, found, at = [], set(), 0

    def string(start):
        end = text.index(0, start)
        return text[start:end].decode(), end + 1

    while at < len(text):
        tag = text[at]
        if tag == 254:
            name, at = string(at + 2)
            _, at = string(at)
            scopes.append(name)
        elif tag == 255:
            scopes.pop()
            at += 1
        elif tag == 252:
            _, at = string(at + 3)
            at = past_number(text, at)
        elif tag == 253:
            at += 1
        else:
            name, at = string(at + 2)
            at = past_number(text, past_number(text, at))
            found.add(".".join([*scopes, name.replace(" ", "")]))
    return found


def past_number(text, at):
    while text[at] & 0x80:
        at += 1
    return at + 1


def in_view(text):
    """Groups with the paths of their signals, and each field with the bits that it shows."""
    groups, fields, group = {}, {}, None
    for line in text.splitlines():
        if line == "@800200":
            group = None
        elif line.startswith("-") and group is None:
            group = line[1:]
            groups[group] = set()
        elif line.startswith("#"):
            name, paths = re.fullmatch(r"#\{(\w+)\} (.*)", line).groups()
            bits = re.findall(r"\((\d+)\)(\S+)", paths)
            groups[group].update(path for _, path in bits)
            (path,) = {path for _, path in bits}
            fields[path, name] = [int(bit) for bit, _ in bits]
        elif line.startswith(f"{export.TOP}."):
            groups[group].add(line)
    return groups, fields


def record(name, simulator, directory, **options):
    return runner.run(
        CONFIGS[name],
        simulator,
        idle=True,
        stall=True,
        seed=1,
        bursts=20,
        waves=True,
        directory=directory,
        **options,
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_views_show_what_a_waveform_of_icarus_has(name, tmp_path):
    waves = record(name, "icarus", tmp_path).waves
    check(waves, in_fst(waves), GROUPS[name])


def test_a_view_shows_what_a_waveform_of_verilator_has(tmp_path):
    waves = record("resident", "verilator", tmp_path).waves
    check(waves, in_vcd(waves), GROUPS["resident"])


def check(waves: Path, recorded, groups):
    text = waves.with_suffix(".gtkw").read_text()
    assert f'[dumpfile] "{waves.name}"' in text
    found, _ = in_view(text)
    assert found.keys() == groups
    for group, paths in found.items():
        assert paths, group
        assert paths <= recorded, group
    assert len(recorded) > 100


def test_fields_of_a_payload_are_its_bits():
    config = CONFIGS["resident"]
    text = view.gtkwave(config, export.to_verilog(config), "dump.vcd")
    _, fields = in_view(text)
    (path,) = {path for path, name in fields if name == "rate"}
    width = int(re.search(r"\[(\d+):0\]", path)[1]) + 1
    shown = [bit for (where, _), bits in fields.items() if where == path for bit in bits]
    assert sorted(shown) == list(range(width)), "each bit once"
    assert fields[path, "operation"] == [width - 1], "the least significant bit is the last"
    assert fields[path, "base"] == [*range(width - 6, width - 1)]


def test_a_view_of_a_failed_run_is_written_too(tmp_path):
    with pytest.raises(runner.BenchError):
        record("resident", "icarus", tmp_path, scenarios=["identity_and_errors"])
    assert [*tmp_path.rglob("dump.gtkw")]
