import importlib
import logging
import re
import sys

import jax
import numpy as np
import pytest
import trees

from pliant.core.clock import Calendar, Task
from pliant.core.problem import Discrete, Environment, HostEnvironment
from pliant.problems.doorkey import minigrid_doorkey
from pliant.problems.doorkey._doorkey import ACTIONS, CLOSED, LOCKED, MISSION, OPEN, observe, step
from pliant.problems.doorkey.minigrid_doorkey import SIZES, Config, EnvironmentState, make

TASKS = Config("5x5:4000,6x6:12_000,8x8:14k", num_envs=16)
STEPS, LEFT = 1000, 0


def _play(state, actions):
    """Plays in an environment of `TASKS`; the states are those before each of the actions `(STEPS, 16)`."""

    def one_step(state, action):
        after, answer = make(TASKS).step(state, action)
        return after, (state, answer)

    return jax.lax.scan(one_step, state, actions)


play, begin = jax.jit(_play), jax.jit(make(TASKS).init)


def random_actions(*shape):
    """Actions that get somewhere now and then."""
    likely = [0.1, 0.15, 0.35, 0.15, 0.05, 0.15, 0.05]
    return np.random.default_rng(1).choice(np.arange(ACTIONS, dtype=np.int32), shape, p=likely)


@pytest.fixture(scope="module")
def played():
    """The states before each random step, and after the last of them; the actions; the answers."""
    actions = random_actions(STEPS, 16)
    last, (before, answers) = trees.numpy(play(begin(trees.key(0))[0], actions))
    states = jax.tree.map(lambda a, b: np.concatenate([a, b[None]]), before.environments, last.environments)
    return states, actions, answers


def test_an_arena_as_published():
    environment = make(Config())
    assert environment.spec.observation == jax.ShapeDtypeStruct((7, 7, 3), np.uint8)
    assert environment.spec.action == Discrete(7)
    assert (environment.num_envs, environment.steps) == (16, 2_000_000)
    assert environment.tasks == (Task("5x5", 500_000), Task("6x6", 1_000_000), Task("8x8", 2_000_000))
    _, observation = jax.eval_shape(environment.init, trees.key(0))
    assert observation.shape == (16, 7, 7, 3) and observation.dtype == np.uint8


def test_environments_begin_anew_by_themselves(played):
    states, actions, answers = played
    before = jax.tree.map(lambda x: x[:-1], states)
    now = jax.tree.map(lambda x: x[1:], states)

    @jax.jit
    @jax.vmap
    @jax.vmap
    def every(state, action, following):
        after, *rest = step(state, action)
        return after, *rest, observe(after), observe(following)

    after, reward, terminated, truncated, image, shown = trees.numpy(every(before, actions, now))
    np.testing.assert_array_equal(answers.reward, reward)
    np.testing.assert_array_equal(answers.terminated, terminated)
    np.testing.assert_array_equal(answers.truncated, truncated)
    np.testing.assert_array_equal(answers.final_observation, image)
    np.testing.assert_array_equal(answers.observation, shown)
    np.testing.assert_array_equal(answers.info["success"], terminated.astype(np.float32))
    assert answers.info["success"].dtype == np.float32

    ended = terminated | truncated
    assert terminated.any() and truncated.any() and not (terminated & truncated).any()
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[~ended], b[~ended]), now, after)
    begun = jax.tree.map(lambda x: x[ended], now)
    assert (begun.t == 0).all() and (begun.door_state == LOCKED).all() and (begun.carrying == 0).all()
    # Two of the many layouts are seldom the same: new ones are drawn each time, and for each environment.
    assert len(set(zip(*(field.tolist() for field in begun)))) > ended.sum() / 2
    assert np.array_equal(answers.observation[~ended], answers.final_observation[~ended])
    assert not np.array_equal(answers.observation[ended], answers.final_observation[ended])


def test_what_can_never_happen(played):
    s = played[0]
    last, at_door = s.size - 1, (s.x == s.door_x) & (s.y == s.door_y)
    assert ((s.x > 0) & (s.x < last) & (s.y > 0) & (s.y < last)).all()
    assert ((s.x != s.door_x) | (at_door & (s.door_state == OPEN))).all()
    assert (s.x < s.door_x)[s.door_state == LOCKED].all()
    held = s.carrying == 1
    np.testing.assert_array_equal(held, (s.key_x == -1) & (s.key_y == -1))
    lies = (s.key_x > 0) & (s.key_x < last) & (s.key_y > 0) & (s.key_y < last) & (s.key_x != s.door_x)
    assert (held | lies).all()
    assert not ((s.key_x == last - 1) & (s.key_y == last - 1)).any()
    assert not ((s.key_x == s.x) & (s.key_y == s.y)).any()
    assert ((s.t >= 0) & (s.t < 10 * s.size**2)).all()
    assert {OPEN, CLOSED, LOCKED} == set(s.door_state.flat) and held.any()


def test_an_episode_has_the_size_of_the_task_in_which_it_begins():
    # Who only turns around plays to the limits of time: 250 steps on 5x5, 360 on 6x6, 640 on 8x8. Sixteen environments:
    # step 250 is frame 4,000, where 6x6 begins; step 610 frame 9,760, still 6x6, which stays until step 970 although
    # 8x8 begins at step 750. That is after the run's end, and 8x8 all the same.
    state, _ = begin(trees.key(0))
    turns = np.full((STEPS, 16), LEFT)
    _, (states, answers) = trees.numpy(play(state, turns))
    np.testing.assert_array_equal(states.frames, 16 * np.arange(STEPS))
    expected = np.repeat([5, 6, 6, 8], [250, 360, 360, 30])
    np.testing.assert_array_equal(states.environments.size, np.repeat(expected[:, None], 16, axis=1))
    times, _ = np.nonzero(answers.truncated)
    np.testing.assert_array_equal(times + 1, np.repeat([250, 610, 970], 16))
    assert not answers.terminated.any()
    # To the frame: all end with the next step, after which there were 3,999 frames or 4,000.
    about_to_end = state.environments._replace(t=np.full(16, 249, np.int32))
    calendar = Calendar(make(TASKS).tasks)
    for frames, name in ((3999, "5x5"), (4000, "6x6")):
        assert calendar.tasks[calendar.task(frames)].name == name
        here = state._replace(environments=about_to_end, frames=np.int32(frames - 16))
        assert (trees.numpy(play(here, turns))[1][0].environments.size[1] == SIZES[name]).all()


def test_one_size_all_along():
    config = Config("5x5:1000,6x6:3k", env="16x16", num_envs=3)
    environment = make(config)
    assert environment.tasks == (Task("16x16", 3000),) and environment.steps == 3000
    size = jax.jit(lambda key: environment.init(key)[0].environments.size)(trees.key(0))
    np.testing.assert_array_equal(size, [16, 16, 16])


def test_the_views_show_the_first_environment(played):
    states, *_ = played
    scene = make(TASKS).render.scene(EnvironmentState(trees.at(states, 7), np.int32(0), None))
    assert all(field == every[7, 0] for field, every in zip(scene, states, strict=True))


@pytest.mark.parametrize(
    ("memory", "text", "parts"), [(False, False, 0), (True, False, 1), (False, True, 1), (True, True, 2)]
)
def test_the_network_is_that_of_the_settings(memory, text, parts):
    assert MISSION == "use the key to open the door and then get to the goal"
    environments = [make(Config(recurrent=m, text=t)) for m, t in ((False, False), (memory, text))]
    plain, ours = (jax.eval_shape(environment.network.init, trees.key(0)) for environment in environments)
    assert sum(x.size for x in jax.tree.leaves(plain)) == 19_384
    assert (len(jax.tree.leaves(ours)) > len(jax.tree.leaves(plain))) == (parts > 0)
    assert bool(jax.tree.leaves(environments[1].network.initial_carry(2))) == memory
    (logits, V), _ = jax.eval_shape(
        environments[1].network.apply,
        ours,
        np.zeros((2, 7, 7, 3), np.uint8),
        environments[1].network.initial_carry(2),
    )
    assert logits.shape == (2, 7) and V.shape == (2,)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"tasks": "4x4:500k"}, "task='4x4': write one of '5x5', '6x6', '8x8', '16x16'"),
        ({"tasks": "5x5:500k,7x8:1M"}, "task='7x8': write one of '5x5', '6x6', '8x8', '16x16'"),
        ({"env": "9x9"}, "env='9x9': write one of '5x5', '6x6', '8x8', '16x16'"),
        ({"tasks": "5x5:500k,6x6:400k"}, "frames count from the beginning of the run"),
    ],
)
def test_sizes_that_cannot_be_are_refused_in_one_line(settings, error):
    with pytest.raises(ValueError, match=re.escape(error)) as caught:
        make(Config(**settings))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "extras"),
    [
        ({}, False),
        ({"tasks": "8x8:1M"}, False),
        ({"tasks": "8x8:1M,5x5:2M"}, True),
        ({"tasks": "5x5:1M,5x5:2M"}, True),
        ({"tasks": "8x8:1M,5x5:2M", "env": "16x16"}, False),
    ],
)
def test_tasks_that_do_not_grow_are_allowed_and_said(settings, extras, caplog):
    with caplog.at_level(logging.INFO, "pliant"):
        assert isinstance(make(Config(**settings)), Environment)
    assert len(caplog.messages) == extras
    assert all("not every task is larger" in message for message in caplog.messages)


def test_the_package_itself_is_a_backend():
    environment = make(Config("5x5:1k,6x6:2k", num_envs=2, backend="minigrid"))
    assert isinstance(environment, HostEnvironment)
    assert (environment.num_envs, environment.steps, environment.tasks) == (
        2,
        2000,
        (Task("5x5", 1000), Task("6x6", 2000)),
    )
    assert environment.spec == make(TASKS).spec


def test_nothing_else_is_needed_on_the_device(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("pliant.problems")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("gymnasium", "minigrid"):
        monkeypatch.setitem(sys.modules, name, None)
    alone = importlib.import_module("pliant.problems.doorkey.minigrid_doorkey")
    assert alone is not minigrid_doorkey
    assert isinstance(alone.make(alone.Config()), Environment)
    with pytest.raises(ValueError, match=re.escape("pip install -e '.[envs]'")):
        alone.make(alone.Config(backend="minigrid"))
