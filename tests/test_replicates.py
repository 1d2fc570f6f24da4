"""Statistics over runs against hand calculation and SciPy."""

import numpy as np
import pytest
from scipy import stats

from segkit.replicates import Interval, holm, interval, paired, sign_flips


def test_interval_by_hand():
    """1, 2, 3: mean 2, s = 1, t(2, 0.975) = 4.302653, half = 4.302653 / sqrt(3) = 2.484138."""
    found = interval([1.0, 2.0, 3.0])
    assert found.mean == 2 and found.n == 3
    assert found.half == pytest.approx(2.484138, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((-0.484138, 4.484138), abs=1e-6)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_interval_is_that_of_scipy(level):
    values = np.random.default_rng(0).normal(0.7, 0.05, 7)
    expected = stats.t.interval(level, 6, values.mean(), stats.sem(values))
    found = interval(values, level)
    assert (found.low, found.high) == pytest.approx(expected)


def test_fewer_than_two_runs_have_no_interval():
    assert interval([0.5]) == Interval(0.5, None, None, 1) and interval([0.5]).half is None
    assert interval([]) == Interval(None, None, None, 0)


def test_95_of_100_intervals_cover_the_mean():
    rng = np.random.default_rng(1)
    found = [interval(rng.normal(0.5, 0.1, 3)) for _ in range(2000)]
    covered = np.mean([one.low <= 0.5 <= one.high for one in found])
    assert abs(covered - 0.95) < 0.015  # three standard errors


def test_paired_test_is_that_of_scipy():
    rng = np.random.default_rng(2)
    one, other = rng.normal(0.6, 0.1, 6), rng.normal(0.55, 0.1, 6)
    found = paired(one - other, 0.9)
    expected = stats.ttest_rel(one, other)
    ends = expected.confidence_interval(0.9)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.difference.low, found.difference.high) == pytest.approx((ends.low, ends.high))


def test_what_cannot_be_tested_has_no_p():
    assert paired([]).p is None and paired([]).exact is None
    assert paired([0.1]).p is None and paired([0.1]).exact == 1
    assert paired([0.1, 0.1, 0.1]).p is None  # no noise to compare with
    assert paired([0.0, 0.0]).p is None and paired([0.0, 0.0]).exact == 1
    assert paired([0.1] * 12 + [0.2] * 12).exact is None and paired([0.1, 0.2] * 12).p < 1e-6


@pytest.mark.parametrize("n", [2, 3, 5, 9])
def test_sign_flips_are_the_permutation_test_of_scipy(n):
    differences = np.random.default_rng(n).normal(0.3, 1, n)
    expected = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flips(differences) == pytest.approx(expected.pvalue)


def test_sign_flips_by_hand():
    """1, 2, 3, all positive: of 8 sums, +6 and -6 are as extreme. With -1: 4 is reached by
    (-1 2 3), (1 -2 -3) and 6 and -6."""
    assert sign_flips([1, 2, 3]) == 2 / 8
    assert sign_flips([-1, 2, 3]) == 4 / 8


def test_sums_that_are_equal_but_for_rounding_count():
    """0.1 + 0.2 + 0.3 and its orders differ in the last digit."""
    assert sign_flips([0.3, 0.2, 0.1, 0.0]) == 4 / 16


@pytest.mark.parametrize("n", [0, 21])
def test_numbers_of_pairs_that_are_not_flipped(n):
    with pytest.raises(ValueError, match=f"1 to 20 pairs. Received: {n}"):
        sign_flips([0.1] * n)


def test_holm_by_hand():
    """0.01, 0.03, 0.04: times 3, 2, 1 = 0.03, 0.06, 0.04, the last raised to 0.06."""
    assert holm([0.04, 0.01, None, 0.03]) == pytest.approx([0.06, 0.03, None, 0.06])
    assert holm([0.9, 0.6]) == [1, 1] and holm([]) == [] and holm([None]) == [None]


def test_holm_keeps_the_errors_of_many_tests_rare():
    rng = np.random.default_rng(3)
    wrong = [
        min(holm([paired(rng.normal(0, 1, 4)).p for _ in range(8)])) < 0.05 for _ in range(600)
    ]
    assert np.mean(wrong) < 0.05 + 0.027  # three standard errors
