"""The recorded numbers of the published environments: their models, and one step from each recorded state.

Contact is chaotic, and the recorded program was compiled in another way: a few steps out of a hundred part by more than
rounding errors. So half of the steps are compared closely, and nine of ten roughly: a wrong edit is a thousand times as
large, in most steps.
"""

import functools
import importlib.util
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pliant.core.clock import Task
from pliant.core.problem import Timestep
from pliant.problems.scenarios import _robots, _v1
from pliant.problems.scenarios._tasks import TASKS

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("brax"), reason="needs brax 0.12.3")

GOLDEN = Path(__file__).parents[2] / "golden"
STEPS = 40
ALL = [(domain, task) for domain in TASKS for task in TASKS[domain]]
BODIES = [f"qp_{field}" for field in _v1.Bodies._fields]
CLOSE = {"qp_pos": 1e-6, "qp_rot": 1e-5, "qp_vel": 6e-5, "qp_ang": 1e-3, "obs": 1e-3, "reward": 4e-6}


class Stepped(NamedTuple):
    """One step of two environments from each recorded state: `(tasks, steps, 2, ...)`."""

    bodies: _v1.Bodies
    answer: Timestep


@functools.cache
def recorded(domain):
    with np.load(GOLDEN / f"brax_v1_{domain}.npz") as file:
        return dict(file)


@functools.cache
def stepped(domain):
    """From the states recorded in each task, and from those of the plain robot in each task: in one program."""
    names = list(TASKS[domain])
    tasks = tuple(Task(name, 1000 * number) for number, name in enumerate(names, 1))
    environment = _v1.environment(domain, list(TASKS[domain].values()), tasks, num_envs=2)

    def one(bodies, action, task):
        key, size = jax.random.key(0), environment.spec.observation.shape[0]
        zero, young, stays = jnp.zeros((), jnp.int32), jnp.zeros(2, jnp.int32), jnp.array(True)
        state = _v1.State(bodies, bodies, jnp.zeros((2, size)), young, zero, task, stays, key)
        after, answer = environment.step(state, action)
        return after.bodies, answer

    def rows(key):
        own = [recorded(domain)[f"{name}.{key}"][:STEPS] for name in names]
        return np.concatenate(own + [own[names.index("normal")]] * len(names))

    task = np.tile(np.repeat(np.arange(len(names), dtype=np.int32), STEPS), 2)
    result = jax.jit(jax.vmap(one))(_v1.Bodies(*map(rows, BODIES)), rows("action"), task)
    result = jax.tree.map(lambda x: np.asarray(x).reshape(2, len(names), STEPS, *x.shape[1:]), Stepped(*result))
    return [jax.tree.map(lambda x, i=i: x[i], result) for i in range(2)]


def of_task(domain, task, which):
    index = list(TASKS[domain]).index(task)
    result = jax.tree.map(lambda x: x[index], stepped(domain)[which])
    return dict(zip(BODIES, result.bodies)) | {"obs": result.answer.observation, "reward": result.answer.reward}


def largest(difference):
    """The largest difference of each step and environment, `(steps, 2)`."""
    return np.abs(difference).reshape(STEPS, 2, -1).max(-1)


@pytest.mark.parametrize(("domain", "task"), ALL)
def test_a_step_from_each_recorded_state(domain, task):
    data, ours = recorded(domain), of_task(domain, task, 0)
    goes_on = data[f"{task}.done"] == 0
    index = list(TASKS[domain]).index(task)
    answer = jax.tree.map(lambda x: x[index], stepped(domain)[0].answer)
    np.testing.assert_array_equal(answer.terminated, ~goes_on)
    assert not answer.truncated.any()
    for key, close in CLOSE.items():
        theirs = data[f"{task}.{key}"]
        error = largest(ours[key] - (theirs if key == "reward" else theirs[1:]))[goes_on]
        assert np.median(error) < 2 * close, key
        assert np.quantile(error, 0.9) < 20 * close, key


@pytest.mark.parametrize(("domain", "task"), [case for case in ALL if case[1] != "normal"])
def test_each_edit_changes_the_motion(domain, task):
    plain, edited = of_task(domain, "normal", 1), of_task(domain, task, 1)
    if TASKS[domain][task].hidden:
        for key in BODIES:
            np.testing.assert_array_equal(edited[key], plain[key])
        hidden = recorded(domain)[f"{task}.obs_mask"] == 0
        assert not edited["obs"][..., hidden].any()
        np.testing.assert_array_equal(edited["obs"][..., ~hidden], plain["obs"][..., ~hidden])
    else:
        assert np.median(largest(edited["qp_vel"] - plain["qp_vel"])) > 1000 * CLOSE["qp_vel"]


@pytest.mark.parametrize(("domain", "task"), ALL)
def test_the_edited_model(domain, task):
    data, change = recorded(domain), TASKS[domain][task]
    config = _robots.edited(domain, change)
    theirs = {name: data[f"{task}.{name}"] for name in ("gravity_z", "friction", "mass", "radius", "action_mask")}
    ours = {
        "gravity_z": config.gravity.z,
        "friction": config.friction,
        "mass": [body.mass for body in config.bodies],
        "radius": [
            shape.capsule.radius if shape.HasField("capsule") else -1
            for body in config.bodies
            for shape in body.colliders
        ],
        "action_mask": change.actions or np.ones(_robots.ROBOTS[domain].action),
    }
    for name, expected in theirs.items():
        np.testing.assert_allclose(ours[name], expected, rtol=1e-6, err_msg=name)
    if domain == "halfcheetah":
        seen = ~np.isin(_robots.ROBOTS[domain].quantities, change.hidden)
        np.testing.assert_array_equal(seen, data[f"{task}.obs_mask"])
