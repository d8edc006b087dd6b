import numpy as np
import pytest

from pliant import report

NAN = np.nan
# Two seeds, two tasks: the first falls from 3 to 1, and is kept by the second seed.
RETURNS = np.array([[[3.0, 1.0], [0.0, 5.0]], [[4.0, 4.0], [1.0, 2.0]]])


def test_a_sequence_in_numbers():
    np.testing.assert_array_equal(report.learned(RETURNS), [[3, 5], [4, 2]])
    np.testing.assert_array_equal(report.average_performance(RETURNS), [3, 3])  # (1 + 5) / 2, (4 + 2) / 2
    np.testing.assert_array_equal(report.forgetting(RETURNS), [-1, 0])  # ((1 - 3) + 0) / 2
    np.testing.assert_array_equal(report.forward_transfer(RETURNS, [2, 4]), [1, 0])  # (1 + 1) / 2, (2 - 2) / 2
    np.testing.assert_array_equal(report.aggregate(RETURNS), [[1.5, 3], [2.5, 3]])


def test_performance_is_the_reference_plus_transfer_plus_forgetting():
    reference = np.array([2.5, 4.5])
    sum_of_both = report.forward_transfer(RETURNS, reference) + report.forgetting(RETURNS)
    np.testing.assert_allclose(report.average_performance(RETURNS), reference.mean() + sum_of_both)


def test_random_actions_have_0_and_the_reference_has_1():
    found = report.normalized(RETURNS[0], random=[1, 0], reference=[3, 10])
    np.testing.assert_array_equal(found, [[1, 0], [0, 0.5]])


def test_a_reference_as_good_as_random_actions_is_no_scale():
    found = report.normalized(RETURNS, random=[1, 5], reference=[3, 5])
    assert np.isfinite(found[:, 0]).all() and np.isnan(found[:, 1]).all()
    np.testing.assert_array_equal(report.average_performance(found, where=[True, False]), [0, 1.5])
    np.testing.assert_array_equal(report.forgetting(found, where=[True, False]), [-1, 0])
    assert np.isnan(report.average_performance(found, where=[False, False])).all()


def test_a_missing_return_is_a_missing_number_of_its_seed():
    returns = RETURNS.copy()
    returns[0, :, 1] = NAN  # the first seed has not learned the second task
    for number in (report.average_performance, report.forgetting, lambda r: report.forward_transfer(r, 0)):
        assert list(np.isnan(number(returns))) == [True, False]


def test_curves_of_tasks():
    # One seed, two tasks, two points in each phase; the last point of a phase is its end.
    curves = np.array([[[0.2, 0.8, 0.6, 0.4], [0.0, 0.0, 0.5, 1.0]]])
    np.testing.assert_array_equal(report.matrix_of_curves(curves, points=1), [[[0.8, 0.4], [0.0, 1.0]]])
    np.testing.assert_allclose(report.matrix_of_curves(curves), [[[0.5, 0.5], [0.0, 0.75]]])  # all points, if fewer
    # Own phases: (0.2 + 0.8) / 2 and (0.5 + 1) / 2; of the room above 0.25 and 0.5 they use 1/3 and 1/2.
    areas = report.area_under_curve([[[0.2, 0.8], [0.5, 1.0]]])
    np.testing.assert_allclose(report.forward_transfer_of_curves(areas, [0.25, 0.5]), [(1 / 3 + 1 / 2) / 2])


def test_points_without_episodes_are_left_out_of_an_area():
    np.testing.assert_array_equal(report.area_under_curve([[NAN, 1, 3], [NAN, NAN, NAN]]), [2, NAN])


@pytest.mark.parametrize("reference", [1.0, [1.0, 0.5]])
def test_no_room_above_a_perfect_curve(reference):
    assert np.isnan(report.forward_transfer_of_curves([0.5, 0.5], reference))
