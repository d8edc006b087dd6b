import warnings

import numpy as np
import pytest
from scipy import stats

from pliant.report import (
    bin_maxima,
    bin_means,
    bootstrap_interval,
    interquartile_mean,
    standard_error,
    standard_error_interval,
)

NAN = float("nan")


def test_bin_means_by_hand():
    # Blocks of 3 of the steps 1..8: (1, 2, 3), (4, 5, 6), and the remainder (7, 8) is dropped.
    x, means = bin_means([1, 2, 3, 4, 5, 6, 7, 8], [1.0, 2.0, 6.0, 0.0, 0.0, 9.0, 100.0, 100.0], 3)
    np.testing.assert_array_equal(x, [0, 3])
    np.testing.assert_array_equal(means, [3.0, 3.0])


def test_bin_means_of_many_members_and_of_steps_out_of_order():
    x, means = bin_means([4, 1, 3, 2], [[4.0, 1.0, 3.0, 2.0], [8.0, 2.0, 6.0, 4.0]], 2)
    np.testing.assert_array_equal(x, [0, 2])
    np.testing.assert_array_equal(means, [[1.5, 3.5], [3.0, 7.0]])


def test_bin_means_of_rare_values():
    # Episodes end at steps 2, 3 and 11 of 12: (0, 4] holds two, (4, 8] none, (8, 12] one.
    x, means = bin_means([2, 3, 11], [5.0, 7.0, 1.0], 4, last=12)
    np.testing.assert_array_equal(x, [0, 4, 8])
    np.testing.assert_array_equal(means, [6.0, NAN, 1.0])


def test_bin_means_keeps_nan_in_its_block():
    _, means = bin_means([1, 2, 3, 4], [1.0, 3.0, 5.0, NAN], 2)
    np.testing.assert_array_equal(means, [2.0, NAN])


def test_bin_means_of_less_than_a_block_is_empty():
    x, means = bin_means([1, 2], [1.0, 2.0], 3)
    assert x.shape == means.shape == (0,)
    x, means = bin_means([], [], 3)
    assert x.shape == means.shape == (0,)


def test_bin_maxima_by_hand():
    # The same blocks: (1, 2, 3), (4, 5, 6), nothing in (7, 8, 9), and NaN in (10, 11, 12); 13 is dropped.
    steps, values = [6, 1, 4, 2, 10, 11, 13], [-5.0, 2.0, -3.0, 8.0, 1.0, NAN, 100.0]
    x, maxima = bin_maxima(steps, values, 3)
    np.testing.assert_array_equal(x, [0, 3, 6, 9])
    np.testing.assert_array_equal(maxima, [8.0, -3.0, NAN, NAN])
    _, maxima = bin_maxima([1, 2, 3, 4], [[1.0, 3.0, 5.0, 4.0], [3.0, 1.0, 0.0, 0.0]], 2)
    np.testing.assert_array_equal(maxima, [[3.0, 5.0], [3.0, 0.0]])


def test_bin_maxima_refuses():
    with pytest.raises(ValueError, match="bin_maxima got width=0"):
        bin_maxima([1], [1.0], 0)


def test_bin_means_refuses():
    with pytest.raises(ValueError, match="width=0; a block is at least 1 step wide"):
        bin_means([1], [1.0], 0)
    with pytest.raises(ValueError, match="counted from 1"):
        bin_means([0, 1], [1.0, 1.0], 1)
    with pytest.raises(ValueError, match=r"steps \(2,\) and values \(3,\)"):
        bin_means([1, 2], [1.0, 1.0, 1.0], 1)


def test_interquartile_mean_by_hand():
    # Of eight, the two lowest and the two highest go: mean(3, 4, 5, 6) = 4.5. Of five, one and one: mean(2, 3, 4).
    assert interquartile_mean([1000, 1, 2, 3, 4, 5, 6, -1000]) == pytest.approx((2 + 3 + 4 + 5) / 4)
    assert interquartile_mean([1, 2, 3, 4, 50]) == 3.0


@pytest.mark.parametrize("members", [1, 3, 4, 10, 31])
def test_interquartile_mean_is_scipys(members):
    values = np.random.default_rng(members).normal(size=(members, 5))
    np.testing.assert_array_equal(interquartile_mean(values), stats.trim_mean(values, 0.25, axis=0))


def test_standard_error_by_hand():
    # Mean 4, squared deviations 9 + 1 + 1 + 9 = 20, variance 20 / 4 = 5, error sqrt(5) / sqrt(4).
    assert standard_error([1.0, 3.0, 5.0, 7.0]) == pytest.approx(np.sqrt(5) / 2)
    value, low, high, members = standard_error_interval([1.0, 3.0, 5.0, 7.0, NAN])[:4]
    assert (value, low, high, members) == pytest.approx((4, 4 - np.sqrt(5) / 2, 4 + np.sqrt(5) / 2, 4))


def test_standard_error_is_numpys():
    values = np.random.default_rng(0).normal(size=(7, 3))
    np.testing.assert_allclose(standard_error(values), values.std(0) / np.sqrt(7))


def test_standard_error_needs_two_members():
    error = standard_error([[1.0, NAN, 1.0], [NAN, NAN, 1.0]])
    np.testing.assert_array_equal(error, [NAN, NAN, 0.0])


@pytest.mark.parametrize("method", ["percentile", "BCa"])
@pytest.mark.parametrize("statistic", [np.mean, interquartile_mean])
def test_bootstrap_interval_is_scipys_column_by_column(statistic, method):
    values = np.random.default_rng(1).gamma(2.0, size=(12, 3))
    value, low, high, members = bootstrap_interval(values, statistic, resamples=500, method=method, seed=3)[:4]
    for column in range(3):
        result = stats.bootstrap(
            (values[:, column],),
            statistic,
            vectorized=True,
            n_resamples=500,
            method=method,
            rng=np.random.default_rng(3),
        )
        np.testing.assert_allclose([low[column], high[column]], result.confidence_interval)
    np.testing.assert_array_equal(value, statistic(values, axis=0))
    np.testing.assert_array_equal(members, [12, 12, 12])


def test_bootstrap_interval_covers_the_truth():
    # 400 experiments of 30 normal members: about 95 % of the intervals hold the true mean, 0.
    values = np.random.default_rng(2).normal(size=(30, 400))
    _, low, high, *_ = bootstrap_interval(values)
    assert 0.90 < ((low < 0) & (high > 0)).mean() < 0.98


def test_bootstrap_interval_in_small_batches_is_the_same(monkeypatch):
    values = np.random.default_rng(4).normal(size=(5, 4))
    whole = bootstrap_interval(values)
    monkeypatch.setattr("pliant.report.statistics._LARGEST_BATCH", 100)
    np.testing.assert_array_equal(bootstrap_interval(values).low, whole.low)


def test_bootstrap_interval_leaves_out_and_counts_members_that_diverged():
    values = np.random.default_rng(5).normal(size=(7, 4))
    values[5, 2:] = NAN
    values[6, 3:] = np.inf
    value, low, high, members, _ = bootstrap_interval(values)
    np.testing.assert_array_equal(members, [7, 7, 6, 5])
    np.testing.assert_allclose(value[3], values[:5, 3].mean())
    alone = bootstrap_interval(values[:5, 3])
    np.testing.assert_array_equal([low[3], high[3]], [alone.low, alone.high])


@pytest.mark.parametrize("method", ["percentile", "basic", "BCa"])
def test_bootstrap_interval_of_degenerate_members_is_quiet(method):
    # No member; one member; five that are all alike; five of which one differs.
    values = np.array([[NAN, 1.0, 2.0, 0.0]] + 4 * [[NAN, NAN, 2.0, 1.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value, low, high, members, points = bootstrap_interval(values, method=method)
    np.testing.assert_array_equal(value, [NAN, 1.0, 2.0, 0.8])
    np.testing.assert_array_equal(members, [0, 1, 5, 5])
    np.testing.assert_array_equal(points, values)
    assert np.isnan([low[0], high[0], low[1], high[1]]).all()
    if method == "BCa":
        assert np.isnan([low[2], high[2]]).all()
    else:
        assert low[2] == high[2] == 2.0
        assert low[3] < 0.8 < high[3]


@pytest.mark.parametrize(("members", "has_interval"), [(2, False), (4, False), (5, True)])
def test_bootstrap_interval_needs_five_members(members, has_interval):
    # Of two the interval would be from the smaller to the larger, whatever the level.
    value, low, high, *_ = bootstrap_interval(np.arange(members))
    assert value == (members - 1) / 2
    assert np.isfinite([low, high]).tolist() == [has_interval] * 2


def test_bootstrap_interval_of_one_number_and_of_more_axes():
    value, low, high, members, _ = bootstrap_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert value == 3.0
    assert low < 3.0 < high
    assert members == 5
    assert bootstrap_interval(np.random.default_rng(6).normal(size=(5, 2, 3))).low.shape == (2, 3)


def test_bootstrap_interval_refuses_a_level():
    with pytest.raises(ValueError, match="level=95; write a number between 0 and 1"):
        bootstrap_interval([1.0, 2.0], level=95)
