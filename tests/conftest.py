"""Options and settings for all tests."""

import os

# Tests run in parallel already; threads within each would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import random

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("upshift", deadline=None, print_blob=True, max_examples=100)
settings.load_profile("upshift")


def pytest_addoption(parser):
    parser.addoption("--seed", type=int, help="replay random tests with this seed")


@pytest.fixture
def seed(request):
    """Seed of a random test; printed, so that a failure shows how to repeat it."""
    given = request.config.getoption("--seed")
    number = random.SystemRandom().randrange(1 << 32) if given is None else given
    print(f"repeat with --seed {number}")
    return number


@pytest.fixture
def rng(seed):
    return np.random.default_rng(seed)
