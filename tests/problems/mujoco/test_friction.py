import math

import numpy as np
import pytest

from pliant.problems.mujoco._friction import FrictionSchedule

SEED = np.array([[1, 2], [3, 4], [5, 6]], np.uint32)


def schedule(seed=SEED, change_time=10):
    return FrictionSchedule(seed, low=0.02, high=2.0, change_time=change_time)


def frictions(seed, count):
    """The first values of each member, `(count, members)`."""
    one = schedule(seed, change_time=0)
    values = []
    for step in range(1, count + 1):
        values.append(one.values.copy())
        one.episodes_ended(np.ones(len(seed), bool), np.full(len(seed), step))
    return np.array(values)


def test_values_are_log_uniform():
    # log10 f is uniform on [log10 0.02, log10 2] = [-1.699, 0.301]: 2000 of them have the mean -0.699 with a standard
    # error of 2 / sqrt(12 * 2000) = 0.0129, and 1000 below f = 0.2, with a standard deviation of 22.4.
    seed = np.stack([np.arange(40), np.arange(40) ** 2], 1).astype(np.uint32)
    values = frictions(seed, 50).ravel()
    assert len(np.unique(values)) == 2000
    assert 0.02 <= values.min() < 0.0205 and 1.95 < values.max() < 2.0
    assert abs(np.log10(values).mean() - (math.log10(0.2))) < 4 * 0.0129
    assert abs((values < 0.2).sum() - 1000) < 4 * 22.4


def test_a_value_depends_on_the_members_entropy_and_its_number_alone():
    together = frictions(SEED, 5)
    for member in range(3):
        np.testing.assert_array_equal(frictions(SEED[member : member + 1], 5)[:, 0], together[:, member])


def test_one_limit_is_no_change():
    one = FrictionSchedule(SEED, low=0.5, high=0.5, change_time=0)
    one.episodes_ended(np.ones(3, bool), np.ones(3))
    np.testing.assert_array_equal(one.values, [0.5, 0.5, 0.5])


def test_the_schedule_by_hand():
    # change_time = 10. Columns: an episode ended? (members 0, 1, 2); value number in force afterwards.
    moments = [
        (4, (1, 1, 0), (0, 0, 0)),  # too early
        (10, (1, 0, 0), (0, 0, 0)),  # 10 - 0 is not more than 10
        (11, (0, 1, 0), (0, 1, 0)),  # 11 - 0 is; member 0 has no end here and has to wait
        (14, (1, 0, 0), (1, 1, 0)),
        (21, (0, 1, 0), (1, 1, 0)),  # 21 - 11 = 10 is not more
        (22, (1, 1, 0), (1, 2, 0)),  # 22 - 11 = 11 is; 22 - 14 = 8 is not
        (60, (1, 1, 1), (2, 3, 1)),  # one value at a time, however long it took
    ]
    expected = frictions(SEED, 5)
    one = schedule()
    for step, ended, number in moments:
        one.episodes_ended(np.array(ended, bool), np.full(3, step))
        np.testing.assert_array_equal(one.values, expected[number, range(3)])


@pytest.mark.parametrize("saved_at", [0, 3])
def test_a_restored_schedule_goes_on(saved_at):
    ended = np.array([True, False, True])
    steps = [np.full(3, step) for step in (5, 11, 20, 22, 23, 40)]
    straight, before, after = schedule(), schedule(), schedule()
    for step in steps[:saved_at]:
        before.episodes_ended(ended, step)
    after.restore(before.save())
    np.testing.assert_array_equal(after.values, before.values)
    for step in steps[:saved_at]:
        straight.episodes_ended(ended, step)
    for step in steps[saved_at:]:
        straight.episodes_ended(ended, step)
        after.episodes_ended(ended, step)
        np.testing.assert_array_equal(after.values, straight.values)
    assert (straight.values != schedule().values).tolist() == [True, False, True]
