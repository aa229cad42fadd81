"""All pairs of a small unit through compiled RTL, and that it would be seen if one were wrong."""

import pytest

from upshift.config import UnitConfig
from upshift.formats import Fixed, bfloat16
from upshift_sim.exhaustive import exhaust, first_resolution

CONFIGS = {
    "8.6 with 8.4": UnitConfig(weight=Fixed(8, 6), gradient=Fixed(8, 4), depth=65536, max_rate=15),
    "6.0 with 7.7": UnitConfig(
        lanes=4, weight=Fixed(6, 0), gradient=Fixed(7, 7), depth=8192, max_rate=9
    ),
    "5.5 with 6.0": UnitConfig(
        lanes=2, weight=Fixed(5, 5), gradient=Fixed(6, 0), depth=2048, max_rate=12, pipeline=7
    ),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_all_pairs_at_all_rates_and_resolutions(config, cache):
    done = exhaust(config)
    assert not done.failure
    settings = (config.max_rate + 1) * (config.max_resolution + 1)
    assert done.updates == settings << (config.weight.width + config.gradient.width)
    assert done.bursts == settings << config.gradient.width


@pytest.mark.parametrize("fault", [1, 2])
def test_a_fault_is_found(fault, cache):
    assert exhaust(CONFIGS["5.5 with 6.0"], fault=fault).failure


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": Fixed(9, 6)}, "9.6 with 8.4 has too many pairs: up to 8 bits each"),
        ({"gradient": bfloat16}, "8.6 with bfloat16 has too many pairs"),
        ({"depth": 32768}, "depth 32768 is not the number of pairs, 65536"),
    ],
)
def test_a_unit_that_does_not_fit_is_refused(change, message):
    config = UnitConfig(**vars(CONFIGS["8.6 with 8.4"]) | change)
    with pytest.raises(ValueError, match=message):
        exhaust(config)


def test_the_first_resolution_of_known_steps():
    point = Fixed(8, 4)
    assert first_resolution(0, point, 0) is None
    assert first_resolution(8, point, 0) == 0  # one half rounds up
    assert first_resolution(-8, point, 0) == 1  # minus one half rounds up to zero
    assert first_resolution(127, point, 0) == -3
    assert first_resolution(1, point, 15) == 18
