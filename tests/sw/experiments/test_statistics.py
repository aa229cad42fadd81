"""Statistics against SciPy and against numbers that others published."""

import math

import numpy as np
import pytest
from scipy import stats

from upshift.experiments import statistics


@pytest.mark.parametrize("n", [2, 3, 20])
def test_means_and_their_intervals_equal_scipys(rng, n):
    values = rng.normal(0.4, 2.0, n).tolist()
    found = statistics.mean(values)
    wanted = stats.ttest_1samp(values, 0)
    interval = wanted.confidence_interval(0.95)
    assert found.n == n
    assert math.isclose(found.mean, np.mean(values))
    assert math.isclose(found.deviation, np.std(values, ddof=1))
    assert math.isclose(found.p, wanted.pvalue)
    np.testing.assert_allclose([found.low, found.high], interval)


def test_paired_differences_equal_scipys(rng):
    a, b = rng.normal(size=(2, 12)).tolist()
    found, wanted = statistics.paired(a, b), stats.ttest_rel(a, b)
    assert math.isclose(found.p, wanted.pvalue)
    np.testing.assert_allclose([found.low, found.high], wanted.confidence_interval(0.95))
    with pytest.raises(ValueError, match="shorter"):
        statistics.paired([1.0, 2.0], [1.0])


@pytest.mark.parametrize(("values", "p"), [([0.0, 0.0], 1.0), ([1.5, 1.5, 1.5], 0.0)])
def test_values_that_do_not_vary_are_certain(values, p):
    found = statistics.mean(values)
    assert (found.deviation, found.p, found.low, found.high) == (0.0, p, values[0], values[0])


@pytest.mark.parametrize("values", [[], [1.0], [1.0, math.inf], [1.0, math.nan]])
def test_too_few_values_or_infinite_ones_are_refused(values):
    with pytest.raises(ValueError, match="values"):
        statistics.mean(values)


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.6, -0.7])
def test_equivalence_is_two_one_sided_tests(rng, shift):
    values = (rng.normal(0, 0.4, 20) + shift).tolist()
    found = statistics.equivalence(values, 0.5)
    above = stats.ttest_1samp(values, -0.5, alternative="greater").pvalue
    below = stats.ttest_1samp(values, 0.5, alternative="less").pvalue
    assert math.isclose(found.p, max(above, below))
    np.testing.assert_allclose(
        [found.low, found.high], stats.ttest_1samp(values, 0).confidence_interval(0.9)
    )
    # The interval at 90 % says the same as the tests at 5 %.
    assert found.equivalent == (found.low > -0.5 and found.high < 0.5)


def test_a_difference_beyond_the_margin_is_not_equivalent():
    assert statistics.equivalence([0.1, -0.1, 0.05, -0.05], 0.5).equivalent
    assert not statistics.equivalence([0.9, 1.1, 1.0, 1.0], 0.5).equivalent
    assert not statistics.equivalence([-3.0, 3.0], 0.5).equivalent  # nor is an unknown one
    with pytest.raises(ValueError, match=r"margin -1 is not allowed"):
        statistics.equivalence([0.0, 1.0], -1)


def test_holm_gives_the_numbers_of_a_textbook():
    # As R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm").
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.5, 0.6]) == [1.0, 1.0]
    assert statistics.holm([]) == []


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (10, 10), (37, 100), (1, 2)])
def test_shares_have_wilsons_interval(successes, trials):
    found, low, high = statistics.share(successes, trials)
    wanted = stats.binomtest(successes, trials).proportion_ci(method="wilson")
    assert found == successes / trials
    np.testing.assert_allclose([low, high], wanted, atol=1e-12)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 2)])
def test_shares_of_nothing_are_refused(successes, trials):
    with pytest.raises(ValueError, match="is not allowed"):
        statistics.share(successes, trials)


def test_discordant_pairs_decide_and_others_do_not():
    both = [True, False] * 20
    assert statistics.discordant(both, both) == 1.0
    a, b = both + [True] * 8, both + [False] * 8
    assert statistics.discordant(a, b) == pytest.approx(2 / 2**8)
    assert statistics.discordant(b, a) == pytest.approx(2 / 2**8)
