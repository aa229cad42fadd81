"""The register table, and the documents made from it."""

import json
import re
import subprocess
from itertools import combinations

import pytest

from upshift import registers
from upshift.config import UnitConfig
from upshift.registers import BY_NAME, REGISTERS
from upshift.report import Refusal


def test_addresses_are_dense_and_names_unique():
    assert [register.address for register in REGISTERS] == list(range(len(REGISTERS)))
    assert [BY_NAME[register.name] for register in REGISTERS] == list(REGISTERS)
    assert len(BY_NAME) == len(REGISTERS)


@pytest.mark.parametrize("register", REGISTERS, ids=lambda register: register.name)
def test_fields_lie_in_their_register_and_apart(register):
    assert register.doc
    bits = [set(range(f.offset, f.offset + f.width)) for f in register.fields]
    assert all(field and max(field) < 32 for field in bits)
    assert not any(one & other for one, other in combinations(bits, 2))
    assert {field.access for field in register.fields} <= {"r", "w1c"}
    assert len({field.name for field in register.fields}) == len(register.fields)


def test_fields_hold_what_a_unit_has_to_say():
    (refusal,) = BY_NAME["error"].fields
    assert (refusal.width, refusal.access) == (len(Refusal), "w1c")
    for cause in Refusal:
        assert f"bit {cause.bit_length() - 1} {cause.name.lower()}" in refusal.doc
    floor = next(field for field in BY_NAME["status"].fields if field.name == "floor")
    assert 1 << floor.width > 32, "the largest floor is 32 fraction bits"


def test_identity_is_magic_versions_and_digest():
    config = UnitConfig()
    identity = registers.identity(config)
    assert identity["magic"].to_bytes(4, "big") == b"UPSH"
    assert identity["version"] >> 16 == registers.PROTOCOL_VERSION
    assert identity["version"] & 0xFFFF == registers.GATEWARE_VERSION
    assert f"{identity['digest_high']:08x}{identity['digest_low']:08x}" == config.digest[:16]
    assert identity.keys() <= BY_NAME.keys()
    other = registers.identity(UnitConfig(depth=64))
    assert {name for name in identity if identity[name] != other[name]} == {
        "digest_high",
        "digest_low",
    }


def test_json_says_what_the_table_says():
    table = json.loads(registers.to_json())
    assert [entry["name"] for entry in table] == [register.name for register in REGISTERS]
    for entry, register in zip(table, REGISTERS, strict=True):
        assert (entry["address"], entry["doc"]) == (register.address, register.doc)
        assert entry["fields"] == [vars(field) for field in register.fields]


def test_markdown_has_a_row_for_every_field():
    lines = registers.to_markdown().splitlines()
    assert lines[1] == "|---|---|---|---|---|---|"
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert len({len(row) for row in rows} | {lines[0].count("|") - 1}) == 1
    found = [(row[0], row[1].strip("`"), row[2], row[3].strip("`"), row[4]) for row in rows]
    assert found == [
        (
            str(register.address),
            register.name,
            f"{f.offset + f.width - 1}:{f.offset}" if f.width > 1 else str(f.offset),
            f.name,
            f.access,
        )
        for register in REGISTERS
        for f in register.fields
    ]
    assert "31:0" in {row[2] for row in rows}


def test_c_header_has_every_number():
    config = UnitConfig(lanes=2)
    header = registers.to_c_header(config)
    defined = dict(re.findall(r"^#define (\w+) (\w+?)u$", header, re.MULTILINE))
    numbers = {name: int(text, 0) for name, text in defined.items()}
    for register in REGISTERS:
        prefix = f"UPSHIFT_{register.name.upper()}"
        assert numbers.pop(prefix) == register.address
        for field in register.fields:
            if field.name != "value":
                name = f"{prefix}_{field.name.upper()}"
                assert numbers.pop(f"{name}_SHIFT") == field.offset
                assert numbers.pop(f"{name}_MASK") == (1 << field.width) - 1
    assert numbers == {
        f"UPSHIFT_IDENTITY_{name.upper()}": value
        for name, value in registers.identity(config).items()
    }


def test_c_header_compiles(tmp_path):
    (tmp_path / "unit.h").write_text(registers.to_c_header(UnitConfig()))
    (tmp_path / "main.cpp").write_text(
        '#include "unit.h"\n#include "unit.h"\n'
        "static_assert(UPSHIFT_IDENTITY_MAGIC == 0x55505348u);\n"
        "constexpr unsigned floor = 0x1200u >> UPSHIFT_STATUS_FLOOR_SHIFT;\n"
        "static_assert((floor & UPSHIFT_STATUS_FLOOR_MASK) == 18);\n"
    )
    subprocess.run(
        ["c++", "-std=c++17", "-Wall", "-Werror", "-fsyntax-only", "main.cpp"],
        cwd=tmp_path,
        check=True,
    )
