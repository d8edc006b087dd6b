"""Differences between two groups of members, with numbers by hand."""

import numpy as np
import pandas as pd
import pytest

from pliant.report import difference, probability_of_improvement


def by_seed(values, first=0):
    return pd.Series(values, index=range(first, first + len(values)), dtype=float)


def test_shared_seeds_are_pairs():
    # Seeds 1 and 2 are in both: 5 - 1 and 9 - 3.
    estimate, pairs = difference(by_seed([100, 5, 9]), by_seed([1, 3, 50], first=1))
    assert (estimate.value, pairs) == (5.0, 2)
    assert np.isnan(estimate.low) and sorted(estimate.points) == [4, 6]


def test_pairs_have_a_narrow_interval_where_seeds_differ_more_than_methods():
    # Each seed gains 1, whatever its level: resampled pairs always have the mean 1.
    level = np.array([0.0, 100, 200, 300, 400])
    estimate, pairs = difference(by_seed(level + 1), by_seed(level))
    assert (estimate.value, estimate.low, estimate.high, pairs) == (1, 1, 1, 5)


def test_without_shared_seeds_it_is_the_difference_of_the_means():
    level = np.array([0.0, 100, 200, 300, 400])
    estimate, pairs = difference(by_seed(level + 1), by_seed(level, first=5))
    assert (estimate.value, pairs) == (1, 0)
    assert estimate.low < -50 and estimate.high > 50  # the seeds' spread is in the interval
    assert np.isnan(difference(by_seed([1, 2, 3, 4]), by_seed(level, first=5))[0].low)  # four members


def test_a_member_that_diverged_is_no_pair():
    estimate, pairs = difference(by_seed([np.nan, 5]), by_seed([1, 2]))
    assert (estimate.value, pairs) == (3, 1)


@pytest.mark.parametrize(
    ("values", "baseline", "lower", "probability"),
    [
        ([2, 4], [1, 3], False, 0.75),  # 2 > 1, 4 > 1, 4 > 3; not 2 > 3
        ([2, 4], [1, 3], True, 0.25),
        ([1, 1], [1, 1], False, 0.5),  # four ties
        ([5, np.nan], [1, 3], False, 1.0),
        ([np.nan], [1, 3], False, np.nan),
    ],
)
def test_the_probability_of_improvement_counts_pairs(values, baseline, lower, probability):
    estimate = probability_of_improvement(values, baseline, lower)
    np.testing.assert_equal(estimate.value, probability)
    assert np.isnan(estimate.low)


def test_the_probability_has_an_interval_from_five_members_on():
    estimate = probability_of_improvement([1, 2, 3, 4, 10], [0, 2.5, 3.5, 5, 6])
    # Above: 1 > 0; 2 > 0; 3 > 0, 2.5; 4 > 0, 2.5, 3.5; 10 > all five: 12 of 25.
    assert estimate.value == 0.48
    assert 0 <= estimate.low < 0.48 < estimate.high <= 1
    certain = probability_of_improvement([7.0] * 5, [6.0] * 5)
    assert (certain.value, certain.low, certain.high) == (1, 1, 1)
