"""The configuration: what is allowed, its canonical JSON and its digest."""

import dataclasses
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upshift.config import UnitConfig
from upshift.formats import Fixed, bfloat16, float32

narrow_formats = st.integers(2, 32).flatmap(
    lambda width: st.builds(Fixed, st.just(width), st.integers(0, width))
)


@st.composite
def configs(draw):
    lanes = 1 << draw(st.integers(0, 5))
    memory = draw(st.sampled_from(["resident", "streamed"]))
    return UnitConfig(
        lanes=lanes,
        weight=draw(narrow_formats),
        gradient=draw(narrow_formats | st.sampled_from([bfloat16, float32])),
        depth=lanes * draw(st.integers(1, 2**30 // lanes)),
        max_rate=draw(st.integers(0, 63)),
        memory=memory,
        updates=memory == "resident" and draw(st.booleans()),
        pipeline=draw(st.integers(4, 8)),
    )


def test_default_configuration_keeps_its_identity():
    config = UnitConfig()
    assert config.to_json() == (
        '{"depth":4096,"gradient":"16.12","lanes":8,"max_rate":31,"weight":"18.16"}'
    )
    # A unit that was built for the default configuration carries this digest.
    assert config.digest == "f7f19b9aceb2fdb42f12ff45e9356de934ca6c2f6c31d4b421fbd7974e84867a"


def test_later_fields_are_written_only_where_they_differ():
    config = UnitConfig(memory="streamed", pipeline=7)
    assert json.loads(config.to_json()) == json.loads(UnitConfig().to_json()) | {
        "memory": "streamed",
        "pipeline": 7,
    }


@given(configs())
def test_json_round_trip(config):
    text = config.to_json()
    assert UnitConfig.from_json(text) == config
    shuffled = json.dumps(dict(reversed(json.loads(text).items())), indent=2)
    again = UnitConfig.from_json(shuffled)
    assert (again.to_json(), again.digest) == (text, config.digest)


@given(configs(), configs())
def test_digests_differ_exactly_when_configurations_do(one, other):
    assert (one.digest == other.digest) == (one == other)


def test_keys_left_out_take_their_defaults():
    assert UnitConfig.from_json("{}") == UnitConfig()
    assert UnitConfig.from_json('{"lanes": 2, "gradient": "bfloat16"}') == UnitConfig(
        lanes=2, gradient=bfloat16
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "configuration is not JSON"),
        ("{lanes: 8}", "configuration is not JSON"),
        ("[8]", r"configuration must be a JSON object, not \[8\]"),
        ('{"lane": 8}', r"unknown configuration key 'lane': allowed are \['lanes', 'weight'"),
        ('{"weight": 18}', "weight must name a format such as '18.16', not 18"),
        ('{"gradient": null}', "gradient must name a format such as '18.16', not None"),
        ('{"weight": "18,16"}', "'18,16' names no format"),
        ('{"weight": "float32"}', "weight must be a Fixed format, not "),
        ('{"weight": "8.9"}', "fraction 9 is not allowed"),
        ('{"lanes": 8.0}', "lanes must be an int, not 8.0"),
        ('{"lanes": true}', "lanes must be an int, not True"),
        ('{"depth": "4096"}', "depth must be an int, not '4096'"),
        ('{"max_rate": null}', "max_rate must be an int, not None"),
        ('{"lanes": 3}', "lanes 3 is not allowed: a power of two, 1 to 32"),
        ('{"memory": 1}', r"memory 1 is not allowed: one of \('resident', 'streamed'\)"),
        ('{"updates": 1}', "updates must be a bool, not 1"),
        ('{"pipeline": 6.0}', "pipeline must be an int, not 6.0"),
        ('{"lanes": 8, "lanes": 8, "depth": 1e400}', "depth must be an int, not inf"),
    ],
)
def test_impossible_files(text, message):
    with pytest.raises(ValueError, match=message):
        UnitConfig.from_json(text)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"lanes": 0}, ValueError, "lanes 0 is not allowed"),
        ({"lanes": -8}, ValueError, "lanes -8 is not allowed"),
        ({"lanes": 6}, ValueError, "lanes 6 is not allowed"),
        ({"lanes": 64}, ValueError, "lanes 64 is not allowed"),
        ({"lanes": 8.0}, TypeError, "lanes must be an int, not 8.0"),
        ({"depth": 0}, ValueError, "depth 0 is not allowed: a multiple of the 8 lanes"),
        ({"depth": 12}, ValueError, "depth 12 is not allowed"),
        ({"depth": 2**30 + 8}, ValueError, "depth 1073741832 is not allowed"),
        ({"weight": Fixed(33, 16)}, ValueError, "weight width 33 is not allowed: 2 to 32"),
        ({"weight": float32}, TypeError, "weight must be a Fixed format"),
        ({"weight": "18.16"}, TypeError, "weight must be a Fixed format, not '18.16'"),
        ({"gradient": Fixed(64, 16)}, ValueError, "gradient width 64 is not allowed: 2 to 32"),
        ({"gradient": "float32"}, TypeError, "gradient must be Fixed, bfloat16 or float32"),
        ({"max_rate": -1}, ValueError, "max_rate -1 is not allowed: 0 to 63"),
        ({"max_rate": 64}, ValueError, "max_rate 64 is not allowed: 0 to 63"),
        ({"max_rate": False}, TypeError, "max_rate must be an int, not False"),
        ({"memory": "outside"}, ValueError, "memory 'outside' is not allowed"),
        ({"memory": "streamed", "updates": True}, ValueError, "updates are for resident weights"),
        ({"updates": 0}, TypeError, "updates must be a bool, not 0"),
        ({"pipeline": 3}, ValueError, "pipeline 3 is not allowed: 4 to 9"),
        ({"pipeline": 10}, ValueError, "pipeline 10 is not allowed: 4 to 9"),
    ],
)
def test_impossible_values(values, error, message):
    with pytest.raises(error, match=message):
        UnitConfig(**values)


def test_a_configuration_is_frozen_and_hashable():
    config = UnitConfig()
    with pytest.raises(dataclasses.FrozenInstanceError, match="lanes"):
        config.lanes = 4
    assert {config: 1}[UnitConfig()] == 1


@given(configs(), st.data())
def test_beats_cover_the_burst(config, data):
    base = data.draw(st.integers(0, config.depth - 1))
    count = data.draw(st.integers(1, config.depth - base))
    rows = range(base // config.lanes, (base + count - 1) // config.lanes + 1)
    assert config.beats(base, count) == len(rows)
    assert config.rows * config.lanes == config.depth
    assert config.max_resolution == config.weight.fraction


@pytest.mark.parametrize(
    ("config", "low", "high"),
    [
        (UnitConfig(), 12 - 15, 31 + 12),
        (UnitConfig(gradient=Fixed(2, 0), max_rate=0), -1, 0),
        # float32: -(2**127 .. 2**128) gives the lowest, the smallest subnormals the highest.
        (UnitConfig(gradient=float32, max_rate=20), -128, 20 + 149),
        (UnitConfig(gradient=bfloat16, max_rate=0), -128, 133),
    ],
    ids=lambda value: re.sub(r"\W+", " ", str(value))[:60],
)
def test_range_of_needed_resolutions(config, low, high):
    assert config.needed_range == (low, high)
