"""Random legal configurations: drawn from the whole space, checked, and able to fail."""

import random

import pytest

from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift_sim import configurations
from upshift_sim.configurations import check, draw


def test_configurations_are_drawn_from_the_whole_space(rng):
    chooser = random.Random(int(rng.integers(1 << 32)))
    drawn = [draw(chooser) for _ in range(10_000)]
    assert {config.lanes for config in drawn} == {1, 2, 4, 8, 16, 32}
    assert {config.weight.width for config in drawn} == set(range(2, 33))
    assert {config.pipeline for config in drawn} == {4, 5, 6, 7, 8, 9}
    assert {config.memory for config in drawn} == {"resident", "streamed"}
    assert {config.updates for config in drawn} == {False, True}
    assert {str(config.gradient) for config in drawn} > {"bfloat16", "float32"}
    gradients = {c.gradient.width for c in drawn if isinstance(c.gradient, Fixed)}
    assert gradients == set(range(2, 33))
    assert {0, 63} < {config.max_rate for config in drawn}


def test_random_configurations_are_equal(cache):
    # The same ones each time; `make configs` draws fifty.
    *_, last = configurations.tally(2, seed=1)
    failures = [(outcome.config.to_json(), outcome.failure) for outcome in last.failures]
    assert not failures
    result = configurations.to_json(last)
    assert result["equal"] == result["configurations"] == 2
    assert result["weights"] > 0


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("module upshift(;\n", "lint: %Error"),
        ("module upshift(input wire checker); endmodule\n", "lint: %"),
    ],
)
def test_verilog_that_does_not_lint_fails(broken, message, monkeypatch):
    config = UnitConfig(lanes=1, weight=Fixed(4, 2), gradient=Fixed(4, 2), depth=4)
    monkeypatch.setattr("upshift_hw.export.to_verilog", lambda config, **options: broken)
    assert message in check(config, 0).failure
