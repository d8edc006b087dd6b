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
from pliant.core.problem import Continuous

TWO = jax.ShapeDtypeStruct((2,), np.float32)


@pytest.mark.parametrize(
    ("settings", "num_envs", "schedule"),
    [
        # A step of one environment and an update in each call; 10 calls explore, and 90 of 100 learn.
        ({"learning_starts": 10}, 1, Schedule(1, 1, 1, 10, 90)),
        # 0.25 updates per step: one in each four steps. 10 steps of exploration are over after 3 such calls.
        ({"learning_starts": 10, "update_to_data": 0.25}, 1, Schedule(4, 4, 1, 3, 22)),
        # Of two environments 0.75 updates per step are 1.5 per time: 3 in two times, which are 4 steps.
        ({"learning_starts": 10, "update_to_data": 0.75}, 2, Schedule(2, 4, 3, 3, 22 * 3)),
        # Returns of 7 steps are known after the 7th time: the call with number 6 is the first that learns.
        ({"learning_starts": 0, "n_step": 7}, 1, Schedule(1, 1, 1, 6, 94)),
        # Exploration that takes all of the run.
        ({"learning_starts": 1000}, 1, Schedule(1, 1, 1, 1000, 0)),
    ],
)
def test_when_a_member_learns(settings, num_envs, schedule):
    environment = arena_of(Continuous(1), num_envs, steps=100)
    assert off_policy.schedule_of(Config(**settings), environment) == schedule


def test_updates_begin_after_exploration_and_are_numbered_from_1():
    # Two updates a call, from the fourth call on. Each adds its number to the parameters, and records its batch as a
    # metric.
    schedule = Schedule(horizon=1, steps=1, updates=2, first=3, updates_in_all=20)

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
