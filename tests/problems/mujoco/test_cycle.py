import numpy as np

from pliant.problems.mujoco._cycle import TASKS, CycleSchedule


def test_the_cycle_goes_on_by_episodes():
    # Two episodes for each of three tasks: after n episodes, n // 2 % 3.
    schedule = CycleSchedule(2, tasks=3, episodes=2)
    ended = np.zeros(2, int)
    seen = [schedule.values.tolist()]
    for count in [(1, 0), (1, 2), (0, 3), (3, 0), (1, 0), (1, 2)]:
        schedule.episodes_ended(np.array(count), steps=np.array([999, 999]))
        ended += count
        seen.append(schedule.values.tolist())
    # Episodes so far: (0, 0) (1, 0) (2, 2) (2, 5) (5, 5) (6, 5) (7, 7).
    assert seen == [[0, 0], [0, 0], [1, 1], [1, 2], [2, 2], [0, 2], [0, 0]]


def test_the_count_outlasts_the_process():
    schedule, other = CycleSchedule(2, 3, 2), CycleSchedule(2, 3, 2)
    schedule.episodes_ended(np.array([3, 4]), np.zeros(2))
    saved = schedule.save()
    schedule.episodes_ended(np.array([1, 1]), np.zeros(2))  # what was saved is a copy
    other.restore(saved)
    assert other.values.tolist() == [1, 2]
    other.episodes_ended(np.array([1, 1]), np.zeros(2))
    assert other.values.tolist() == [2, 2] == schedule.values.tolist()
    np.testing.assert_array_equal(saved["episodes"], [3, 4])


def test_what_each_task_pays_for_a_velocity():
    paid = {name: [change.paid(velocity) for velocity in (-1.0, 0.5, 1.0, 3.0)] for name, change in TASKS.items()}
    forward = [-1, 0.5, 1, 3]
    assert paid == {
        "forward": forward,
        "backward": [1, -0.5, -1, -3],
        "slow": [-1, 0.5, 1, -1],
        "light": forward,
        "heavy": forward,
        "slippery": forward,
    }
