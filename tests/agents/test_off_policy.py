"""What off-policy agents share, with numbers by hand."""

import jax
import numpy as np
import pytest
import trees
from on_policy import arena_of

from pliant.agents import _off_policy as off_policy
from pliant.agents._off_policy import Config, Schedule
from pliant.agents._replay import Replay
from pliant.core.agent import Transitions
from pliant.core.clock import Calendar, Task
from pliant.core.problem import Continuous

TWO = jax.ShapeDtypeStruct((2,), np.float32)


@pytest.mark.parametrize(
    ("settings", "num_envs", "schedule"),
    [
        # A step of one environment and an update in each call; 10 calls explore, and 90 of 100 learn.
        ({"learning_starts": 10}, 1, Schedule(1, 1, 1, 10, 100)),
        # 0.25 updates per step: one in each four steps. 10 steps of exploration are over after 3 such calls.
        ({"learning_starts": 10, "update_to_data": 0.25}, 1, Schedule(4, 4, 1, 3, 25)),
        # Of two environments 0.75 updates per step are 1.5 per time: 3 in two times, which are 4 steps.
        ({"learning_starts": 10, "update_to_data": 0.75}, 2, Schedule(2, 4, 3, 3, 25)),
        # Returns of 7 steps are known after the 7th time: the call with number 6 is the first that learns.
        ({"learning_starts": 0, "n_step": 7}, 1, Schedule(1, 1, 1, 6, 100)),
        # Exploration that takes all of the run.
        ({"learning_starts": 1000}, 1, Schedule(1, 1, 1, 1000, 100)),
    ],
)
def test_when_a_member_learns(settings, num_envs, schedule):
    environment = arena_of(Continuous(1), num_envs, steps=100)
    assert off_policy.schedule_of(Config(**settings), environment) == schedule


@pytest.mark.parametrize(
    ("schedule", "updates"),
    [
        (Schedule(1, 1, 1, 10, 100), [90]),
        (Schedule(2, 4, 3, 3, 25), [22 * 3]),
        (Schedule(1, 1, 1, 1000, 100), [0]),
        # Tasks of 40, 5 and 55 calls, of which the first 10 collect.
        (Schedule(1, 1, 2, 10, 100, (0, 40, 45)), [60, 0, 90]),
    ],
)
def test_how_many_updates_there_are(schedule, updates):
    assert schedule.updates_in_segments == updates
    learning = [call for call in range(schedule.calls) if schedule.learns(call)]
    in_segments = np.histogram(learning, [*schedule.starts, schedule.calls])[0]
    assert (in_segments * schedule.updates).tolist() == updates


def test_the_published_number_of_updates_of_a_task():
    # 128 environments, an update every two steps, and 12,800 steps before the first: 64 updates in each of 7,712 calls.
    tasks = tuple(Task(name, 999_936 * (k + 1)) for k, name in enumerate("ab"))
    environment = arena_of(Continuous(1), 128, steps=2 * 999_936)._replace(tasks=tasks)
    schedule = off_policy.schedule_of(Config(learning_starts=12_800, update_to_data=0.5), environment, restarts=True)
    assert schedule == Schedule(1, 128, 64, 100, 2 * 7812, (0, 7812))
    assert sum(bool(schedule.learns(call)) for call in range(7812)) == 7_712
    assert schedule.updates_in_segments == [493_568, 493_568]


def test_clocks_count_the_updates_of_a_network_over_all_segments():
    # Calls of 2 steps and 3 updates; tasks of 4 and 6 calls, of which the first collects: 9 and 15 updates. Of a
    # network that every second of them changes, beginning with the first, 5 and 8.
    schedule = Schedule(1, 2, 3, 1, 10, (0, 4))
    calendar = Calendar((Task("a", 8), Task("b", 20)))

    def clocks(calls):
        numbers = schedule.numbers(calls)
        every = jax.vmap(lambda number: schedule.clock(calendar, calls, number))(numbers)
        second = jax.vmap(lambda number: schedule.clock(calendar, calls, number, lambda n: -(-n // 2)))(numbers)
        return numbers, every, second, schedule.clock(calendar, calls)

    clocks = jax.jit(clocks)
    numbers, every, second, following = trees.numpy(clocks(np.int32(3)))
    assert numbers.tolist() == every.update.tolist() == every.task_update.tolist() == [7, 8, 9]
    assert second.update.tolist() == second.task_update.tolist() == [4, 4, 5]
    assert (every.step.tolist(), every.task.tolist()) == ([6] * 3, [0] * 3)
    assert following == (7, 6, 0, 7, 0)
    numbers, every, second, following = trees.numpy(clocks(np.int32(6)))
    assert numbers.tolist() == every.task_update.tolist() == [4, 5, 6] and every.update.tolist() == [13, 14, 15]
    assert second.task_update.tolist() == [2, 3, 3] and second.update.tolist() == [7, 8, 8]
    assert following == (13, 12, 1, 4, 0)
    assert trees.numpy(clocks(np.int32(4))[3]) == (10, 8, 1, 1, 0)


def test_updates_begin_after_exploration_and_are_numbered_from_1():
    # Two updates a call, from the fourth call on. Each adds its number to the parameters, and records its batch as a
    # metric.
    schedule = Schedule(horizon=1, steps=1, updates=2, first=3, calls=13)

    def update(state, batch, number):
        return state + number, {"batch": batch, "number": number.astype(np.float32)}

    learn = jax.jit(lambda calls: off_policy.make_updates(schedule, update, np.int32(100), np.float32([4, 8]), calls))
    for calls, state, metrics in [(2, 100, (0, 0)), (3, 100 + 1 + 2, (6, 1.5)), (5, 100 + 5 + 6, (6, 5.5))]:
        after, made = trees.numpy(learn(np.int32(calls)))
        assert (after, (made["batch"], made["number"])) == (state, metrics)


@pytest.mark.parametrize("truncation", ["bootstrap", "terminal"])
def test_what_happened_is_stored(truncation):
    # One time of two environments, of which the first terminates and the second is cut short: row 0 has the step, and
    # row 1 what followed. Kinds are 2 where nothing comes after it, 1 where something does, 0 where there is no step.
    replay = Replay(2, 40, TWO, TWO)
    empty = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(replay.init))
    observation, action, following, reward = trees.normal(0, 4, 1, 2, 2)
    now = Transitions(
        observation, action, (), reward[..., 0], np.array([[True, False]]), np.array([[False, True]]), following
    )
    store = jax.jit(lambda *given: off_policy.store(Config(truncation=truncation), replay, *given))
    rows = trees.numpy(store(empty, now, np.ones((1, 2), bool)).rows)
    np.testing.assert_array_equal(rows.observation[:, 0], observation[0])
    np.testing.assert_array_equal(rows.observation[:, 1], following[0])
    np.testing.assert_array_equal(rows.action[:, 0], action[0])
    np.testing.assert_array_equal(rows.reward[:, 0], reward[0, :, 0])
    assert rows.kind[:, :2].tolist() == [[2, 0], [2 if truncation == "terminal" else 1, 0]]


def test_targets_and_means_with_weights():
    # 1 + 0.5 * 4 = 3, and 2 where there is no future; the mean of 3 and 2 with weights 1 and 0, and with none.
    def both(weight):
        y = off_policy.td_targets(np.float32([1, 2]), np.float32([0.5, 0]), np.float32([4, 9]))
        return y, off_policy.weighted_mean(y, weight)

    y, mean = jax.jit(both)(np.float32([1, 0]))
    assert np.asarray(y).tolist() == [3, 2] and float(mean) == 3
    with pytest.raises(ValueError, match=r"values \(2, 1\), weight \(2,\): pass arrays of one shape, with 1 axis each"):
        off_policy.weighted_mean(np.ones((2, 1)), np.ones(2))
