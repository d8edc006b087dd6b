"""The environments of the old engine in the course of a run: episodes, borders of tasks, evaluation, pictures."""

import functools
import importlib.util
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trees

from pliant.core.clock import Task
from pliant.problems.scenarios import _brax, _v1
from pliant.problems.scenarios._tasks import TASKS

needs_brax = pytest.mark.skipif(not importlib.util.find_spec("brax"), reason="needs brax 0.12.3")

NAMES = ("normal", "hugefoot", "disabled_hard1")
E = 3  # environments


@functools.cache
def ant():
    tasks = tuple(Task(name, 4 * E * number) for number, name in enumerate(NAMES, 1))
    return _v1.environment("ant", [TASKS["ant"][name] for name in NAMES], tasks, E)


@functools.cache
def begun():
    """The first state of a run, and that of environments which stay in the second task."""
    environment = ant()
    return trees.numpy(environment.init(trees.key(0))), trees.numpy(environment.init_task(trees.key(1), np.int32(1)))


def state(stays=False, **fields):
    (moving, _), (still, _) = begun()
    chosen = still if stays else moving
    return chosen._replace(**fields)


def step(state, action=None):
    action = np.zeros((E, 8), np.float32) if action is None else action
    after, answer = ant().step(state._replace(key=jax.random.wrap_key_data(state.key)), action)
    return trees.numpy(after), trees.numpy(answer)


def actions(seed):
    return np.random.default_rng(seed).uniform(-1, 1, (E, 8)).astype(np.float32)


def raised(bodies, environment, height):
    pos = bodies.pos.copy()
    pos[environment, :-1, 2] += height  # the last body is the ground
    return bodies._replace(pos=pos)


def equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@needs_brax
def test_the_arena():
    environment = ant()
    assert (environment.num_envs, environment.steps, environment.spec.action) == (E, 36, _v1.Continuous(8, 1.0))
    assert [task.until for task in environment.tasks] == [12, 24, 36]
    for (first, observation), task in zip(begun(), (0, 1)):
        assert observation.shape == (E, 27) and observation.dtype == np.float32
        assert (first.task, first.steps, first.age.tolist()) == (task, 0, [0] * E)
        equal((first.first, first.first_observation), (first.bodies, observation))
        # Reset noise moves the joints of each environment; the lowest point is on the ground.
        assert len(np.unique(observation[:, 5])) == E
        np.testing.assert_allclose(first.bodies.pos[:, 0], [[0, 0, 0.54]] * E, atol=0.03)


@needs_brax
def test_an_episode_goes_on():
    before = state()
    after, answer = step(before, actions(0))
    assert not (answer.terminated | answer.truncated).any()
    equal(answer.observation, answer.final_observation)
    assert after.age.tolist() == [1] * E and after.steps == E
    equal((after.first, after.first_observation), (before.first, before.first_observation))
    velocity = (after.bodies.pos - before.bodies.pos)[:, 0, 0] / 0.05
    expected = velocity + 1 - 0.5 * (actions(0) ** 2).sum(1)
    np.testing.assert_allclose(answer.reward, expected, atol=0.02)  # contacts cost a little


@needs_brax
def test_actions_act_up_to_their_bound():
    equal(step(state(), 3 * np.sign(actions(0))), step(state(), np.sign(actions(0))))


@needs_brax
def test_episodes_end_by_falls_and_by_time_and_begin_as_before():
    before = state()
    fallen = before._replace(bodies=raised(before.bodies, [0, 2], 1.0), age=np.array([5, 999, 999], np.int32))
    after, answer = step(fallen)
    np.testing.assert_array_equal(answer.terminated, [True, False, True])
    np.testing.assert_array_equal(answer.truncated, [False, True, False])  # never both
    equal((after.bodies, answer.observation), (before.bodies, before.first_observation))
    assert after.age.tolist() == [0] * E
    assert (answer.final_observation[[0, 2], 0] > 1).all() and (answer.final_observation[1] != 0).any()
    assert (answer.final_observation != answer.observation).any(1).all()


@needs_brax
def test_at_a_border_all_begin_anew_in_the_next_task():
    before = state()._replace(steps=np.int32(9), bodies=raised(state().bodies, 0, 1.0))
    after, answer = step(before)
    assert (after.task, after.steps) == (1, 12)
    np.testing.assert_array_equal(answer.terminated, [True, False, False])
    np.testing.assert_array_equal(answer.truncated, [False, True, True])
    equal((after.bodies, answer.observation), (after.first, after.first_observation))
    assert (after.first.rot[:, 2] != before.first.rot[:, 2]).any(1).all()  # other episodes
    # From there on the physics is that of environments which stay in the second task.
    still = state(stays=True)._replace(**{name: getattr(after, name) for name in ("bodies", "first", "key")})
    (one, there), (other, here) = step(after, actions(1)), step(still, actions(1))
    equal((one.bodies, there.reward), (other.bodies, here.reward))
    plain = step(after._replace(task=np.int32(0), steps=np.int32(0)), actions(1))[0]
    assert np.abs(plain.bodies.vel - one.bodies.vel).max() > 0.01


@needs_brax
def test_the_last_task_goes_on():
    for stays, task, steps in ((False, 2, 33), (False, 2, 60), (True, 1, 21), (True, 1, 60)):
        after, answer = step(state(stays, task=np.int32(task), steps=np.int32(steps)))
        assert after.task == task and not answer.truncated.any()


@needs_brax
def test_disabled_motors_neither_act_nor_cost():
    # Only the first leg works.
    before, some = state(task=np.int32(2), steps=np.int32(24)), actions(0)
    equal(step(before, some), step(before, some * np.repeat([1, 0], [2, 6]).astype(np.float32)))


@needs_brax
def test_random_actions_are_paid_as_in_the_published_environment():
    # In 200 steps, of 64 environments: -59 ± 27 of the plain robot, 133 ± 5 with one leg.
    environment = ant()

    @jax.jit
    def play(task):
        def each(carry, key):
            alive, state = carry
            state, answer = environment.step(state, jax.random.uniform(key, (E, 8), minval=-1, maxval=1))
            return (alive & ~answer.terminated, state), answer.reward * alive

        first, _ = environment.init_task(jax.random.key(task), task)
        return jax.lax.scan(each, (jnp.ones(E, bool), first), jax.random.split(jax.random.key(9), 200))[1].sum(0)

    plain, one_leg = (np.asarray(play(np.int32(task))) for task in (0, 2))
    np.testing.assert_allclose(plain, -59, atol=4 * 27)
    np.testing.assert_allclose(one_leg, 133, atol=4 * 5)


@needs_brax
def test_pictures():
    views, seen = ant().render, state()
    moved = seen._replace(bodies=raised(seen.bodies, 0, 0.5))
    scenes = [trees.numpy(views.scene(each)) for each in (seen, moved, seen._replace(task=np.int32(1)))]
    pictures = [views.picture(scene) for scene in scenes]
    assert all(picture.shape == (288, 480, 3) and picture.dtype == np.uint8 for picture in pictures)
    robot = [(picture[30:256] != picture[100, 5]).any(-1) for picture in pictures]
    top = [rows.any(1).argmax() for rows in robot]
    assert abs(top[0] - top[1] - 50) <= 1  # half a metre up is 50 pixels
    assert robot[2].sum() > 1.1 * robot[0].sum()  # larger feet
    assert views.text(scenes[0]).startswith("normal: 0.0 m forward") and views.text(scenes[2]).startswith("hugefoot:")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (lambda folder: None, "engine='v1' needs brax 0.12.3: pip install -e '.[brax-v1]', or write engine='mujoco'"),
        (
            lambda folder: types.SimpleNamespace(submodule_search_locations=[str(folder)]),
            "engine='v1' needs brax 0.12.3, and this brax lacks it: pip install -e '.[brax-v1]', or write "
            "engine='mujoco'",
        ),
    ],
)
def test_an_engine_that_is_not_installed(found, message, tmp_path, monkeypatch):
    monkeypatch.setattr(_brax.importlib.util, "find_spec", lambda name: found(tmp_path))
    with pytest.raises(ValueError) as error:
        _brax.load("envs.none")
    assert str(error.value) == message


def test_an_engine_that_cannot_be_imported(tmp_path, monkeypatch):
    (tmp_path / "v1").mkdir()
    package = types.SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(_brax.importlib.util, "find_spec", lambda name: package)

    def missing(name):
        raise ImportError(f"no {name}")

    monkeypatch.setattr(_brax.importlib, "import_module", missing)
    with pytest.raises(ValueError, match=r"which jax \S+ cannot import \(no jax.*\): write engine='mujoco'"):
        _brax.load("envs.none")
