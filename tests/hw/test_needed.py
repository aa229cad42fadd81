"""q_min of a beat: the encoder against the loop it replaces."""

from itertools import product

import pytest

from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift_hw.needed import FixedNeeded


def loop(words, rate, fraction):
    """Raise q until some floor(g * 2**(q-k) + 1/2) is not zero."""
    if not any(words):
        return None
    q = -70
    while True:
        power = q - rate - fraction + 1  # of the doubled step
        doubled = [word << power if power >= 0 else word >> -power for word in words]
        if any((step + 1) >> 1 for step in doubled):
            return q
        q += 1


def check(pipe, config, cases):
    component = FixedNeeded(config)
    inputs = [{"gradients": list(words), "mask": mask, "rate": rate} for words, mask, rate in cases]
    results = pipe(component, inputs, ["valid", "needed"], latency=component.latency)
    for (words, mask, rate), (valid, needed) in zip(cases, results, strict=True):
        inside = [word for j, word in enumerate(words) if mask >> j & 1]
        expected = loop(inside, rate, config.gradient.fraction)
        assert (needed if valid else None) == expected


@pytest.mark.parametrize("fraction", range(4))
def test_every_beat_of_two_three_bit_gradients(pipe, rng, fraction):
    config = UnitConfig(lanes=2, gradient=Fixed(3, fraction), max_rate=3)
    cases = [
        (words, mask, rate)
        for words in product(range(-4, 4), repeat=2)
        for mask, rate in product(range(4), range(4))
    ]
    rng.shuffle(cases)
    check(pipe, config, cases)


@pytest.mark.parametrize(
    "config",
    [
        UnitConfig(),
        UnitConfig(lanes=1, gradient=Fixed(2, 0), max_rate=0),
        UnitConfig(lanes=4, gradient=Fixed(32, 32), max_rate=63),
        UnitConfig(lanes=32, gradient=Fixed(32, 0), max_rate=5),
    ],
    ids=lambda config: f"{config.lanes}-{config.gradient}-{config.max_rate}",
)
def test_random_beats(pipe, rng, config):
    fmt = config.gradient
    cases = []
    for _ in range(300):
        words = rng.integers(fmt.min, fmt.max + 1, config.lanes) >> rng.integers(fmt.width)
        mask = int(rng.integers(1 << config.lanes))
        cases.append((words.tolist(), mask, int(rng.integers(config.max_rate + 1))))
    for word in (fmt.min, fmt.max, 1, -1, 0):
        cases.append(([word] * config.lanes, 1, config.max_rate))
    check(pipe, config, cases)
