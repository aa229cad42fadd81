"""Payloads: every field fits what can occur, and packing loses nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upshift import layout
from upshift.config import UnitConfig
from upshift.formats import Fixed, float32
from upshift.layout import Field, Operation
from upshift.report import Refusal, UpdateReport

CONFIGS = [
    UnitConfig(),
    UnitConfig(lanes=1, depth=1, weight=Fixed(2, 0), gradient=Fixed(2, 2), max_rate=0),
    UnitConfig(lanes=4, depth=20, weight=Fixed(32, 32), gradient=Fixed(32, 32), max_rate=63),
    UnitConfig(lanes=32, depth=32, gradient=float32, max_rate=20),
    UnitConfig(lanes=2, depth=2**30, weight=Fixed(8, 7)),
]
every_config = pytest.mark.parametrize(
    "config", CONFIGS, ids=[f"{c.lanes}-{c.weight}-{c.gradient}-{c.depth}" for c in CONFIGS]
)
PAYLOADS = ["command", "report", "gradients", "weights", "access"]


def limits(field):
    low = -(1 << (field.width - 1)) if field.signed else 0
    return low, low + (1 << field.width) - 1


fields = st.lists(
    st.builds(Field, st.uuids().map(str), st.integers(1, 70), st.just(""), st.booleans()),
    min_size=1,
    max_size=6,
    unique_by=lambda field: field.name,
).map(tuple)


@given(fields, st.data())
def test_round_trip(table, data):
    values = {field.name: data.draw(st.integers(*limits(field))) for field in table}
    word = layout.pack(table, values)
    assert 0 <= word < 1 << layout.width(table)
    assert layout.unpack(table, word) == values


def test_first_field_is_least_significant():
    table = (Field("low", 3, ""), Field("high", 5, "", signed=True))
    assert layout.pack(table, {"low": 0b101, "high": -2}) == 0b11110_101
    assert layout.pack(table, {"high": 1}) == 0b1000


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"low": 8}, "low 8 is not allowed: 0 to 7"),
        ({"low": -1}, "low -1 is not allowed"),
        ({"high": 16}, "high 16 is not allowed: -16 to 15"),
        ({"high": -17}, "high -17 is not allowed"),
        ({"middle": 0, "low": 9}, r"unknown fields \['middle'\]"),
    ],
)
def test_what_does_not_fit_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        layout.pack((Field("low", 3, ""), Field("high", 5, "", signed=True)), values)


@every_config
@pytest.mark.parametrize("payload", PAYLOADS)
def test_tables_have_unique_names_and_no_empty_field(config, payload):
    table = getattr(layout, payload)(config)
    assert len({field.name for field in table}) == len(table)
    assert all(field.width >= 1 and field.doc for field in table)
    assert layout.width(table) == sum(field.width for field in table)


def width_of(table, name):
    return next(field.width for field in table if field.name == name)


@every_config
def test_a_command_can_ask_for_everything_and_for_the_first_thing_refused(config):
    table = layout.command(config)
    finest = config.max_resolution
    for values in (
        {"operation": Operation.UPDATE, "base": 0, "count": config.depth},
        {"base": config.depth - 1, "count": 1, "rate": config.max_rate, "resolution": finest},
        {"base": config.depth, "resolution": finest + 1},
        {"operation": Operation.RAISE, "resolution": finest},
    ):
        assert layout.unpack(table, layout.pack(table, values)).items() >= values.items()
    # No field is wider than that needs.
    assert width_of(table, "count") == config.depth.bit_length()
    assert width_of(table, "resolution") == (finest + 1).bit_length()


@every_config
def test_a_report_holds_every_count_and_cause(config):
    table = layout.report(config)
    low, high = config.needed_range
    everything = int(sum(Refusal))
    assert everything == (1 << len(Refusal)) - 1
    for needed in (low, high):
        values = dict.fromkeys(("elements", "nonzero", "saturated", "nonfinite"), config.depth)
        values |= {"needed_valid": 1, "needed": needed, "refusal": everything}
        assert layout.unpack(table, layout.pack(table, values)) == values
    bits = width_of(table, "needed") - 1
    assert max(high, -low - 1) >= 1 << (bits - 1) or bits == 1, "one bit too many"


@every_config
def test_an_access_reaches_every_row(config):
    table = layout.access(config)
    values = {
        "row": config.rows - 1,
        "write": 1,
        "mask": (1 << config.lanes) - 1,
        "weights": (1 << (config.lanes * config.weight.width)) - 1,
    }
    assert layout.unpack(table, layout.pack(table, values)) == values
    assert 1 << width_of(table, "row") >= config.rows


@every_config
@given(st.data())
def test_lanes_round_trip(config, data):
    weight = config.weight
    row = [data.draw(st.integers(weight.min, weight.max)) for _ in range(config.lanes)]
    payload = layout.pack_lanes(row, weight.width)
    assert layout.unpack_lanes(config, payload) == row
    named = layout.unpack(layout.weights(config), payload)
    assert [named[f"lane{j}"] for j in range(config.lanes)] == [
        word & ((1 << weight.width) - 1) for word in row
    ]
    assert layout.width(layout.gradients(config)) == config.lanes * config.gradient.width


def test_report_fields_become_a_report():
    values = {
        "elements": 9,
        "nonzero": 8,
        "saturated": 7,
        "nonfinite": 1,
        "needed_valid": 1,
        "needed": -3,
        "refusal": 0,
    }
    assert layout.to_report(values) == UpdateReport(9, 8, 7, 1, 0, -3)
    assert layout.to_report(values | {"needed_valid": 0}) == UpdateReport(9, 8, 7, 1, 0, None)
