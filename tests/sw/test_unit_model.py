"""The model of the whole unit: what it refuses, and that a refusal changes nothing."""

import numpy as np
import pytest

from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift.layout import Operation, to_report
from upshift.reference import Command, Unit, step
from upshift.report import Refusal

CONFIG = UnitConfig(lanes=4, depth=32, weight=Fixed(8, 4), gradient=Fixed(8, 4), max_rate=5)
GOOD = {"base": 3, "count": 5, "rate": 1, "resolution": 2}


def loaded(floor=0):
    unit = Unit(CONFIG)
    unit.weights[:] = np.arange(32)
    unit.floor = floor
    return unit


def test_an_update_equals_step_and_touches_nothing_else():
    unit = loaded()
    gradients = np.array([5, -9, 127, -128, 0])
    fields = unit.execute(Command(Operation.UPDATE, **GOOD), gradients)
    new, report = step(np.arange(3, 8), gradients, config=CONFIG, rate=1, resolution=2)
    assert unit.weights.tolist() == [0, 1, 2, *new.tolist(), *range(8, 32)]
    assert fields["refusal"] == 0
    assert to_report(fields) == report


@pytest.mark.parametrize(
    ("change", "causes"),
    [
        ({"resolution": 1}, Refusal.FLOOR),
        ({"resolution": 5}, Refusal.FRACTION),
        ({"rate": 6}, Refusal.RATE),
        ({"count": 0}, Refusal.COUNT),
        ({"base": 28}, Refusal.RANGE),
        ({"base": 32, "count": 1}, Refusal.RANGE),
        ({"base": 63, "count": 63}, Refusal.RANGE),
        ({"base": 40, "count": 0}, Refusal.COUNT),
        ({"rate": 7, "resolution": 0, "base": 30}, Refusal.RATE | Refusal.FLOOR | Refusal.RANGE),
    ],
)
def test_refusals_change_nothing(change, causes):
    unit = loaded(floor=2)
    command = Command(Operation.UPDATE, **(GOOD | change))
    assert unit.refusal(command) == causes
    fields = unit.execute(command, np.full(command.count, 100))
    assert fields.pop("refusal") == causes
    assert not any(fields.values())
    assert unit.weights.tolist() == list(range(32))
    assert unit.floor == 2


def test_the_last_weight_can_be_updated():
    unit = loaded()
    unit.execute(Command(Operation.UPDATE, 31, 1, 0, 4), [1])
    assert unit.weights.tolist() == [*range(31), 30]


def test_the_floor_rises_and_never_falls():
    unit = loaded()
    for resolution, refusal, floor in (
        (2, 0, 2),
        (1, Refusal.FLOOR, 2),
        (2, 0, 2),
        (5, Refusal.FRACTION, 2),
        (4, 0, 4),
    ):
        # Fields that a raise ignores hold what an update would be refused for.
        command = Command(Operation.RAISE, base=99, count=0, rate=9, resolution=resolution)
        assert unit.execute(command, ())["refusal"] == refusal
        assert unit.floor == floor
    assert unit.execute(Command(Operation.UPDATE, 0, 1, 0, 4), [16])["elements"] == 1
    assert unit.execute(Command(Operation.UPDATE, 0, 1, 0, 3), [16])["refusal"] == Refusal.FLOOR
