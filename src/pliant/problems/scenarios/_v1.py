"""The scenarios on the old engine of Brax, the published experiments' engine, as environments on the device."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core.base import Array, Key
from pliant.core.clock import Calendar, Task
from pliant.core.problem import Continuous, Environment, Spec, Timestep

from ._brax import load
from ._rarely import rarely
from ._robots import ROBOTS, edited, robots
from ._tasks import Change, Domain
from ._views import views

TIME_LIMIT = 1000  # steps of an episode


class Bodies(NamedTuple):
    """Where the bodies of a robot are, and how they move."""

    pos: Array  # (num_envs, bodies, 3) m
    rot: Array  # (num_envs, bodies, 4) quaternions, the real part first
    vel: Array  # (num_envs, bodies, 3) m/s
    ang: Array  # (num_envs, bodies, 3) rad/s


class State(NamedTuple):
    bodies: Bodies
    first: Bodies  # of each episode of the task
    first_observation: Array  # (num_envs, size)
    age: Array  # (num_envs,) int32, steps of the episode so far
    steps: Array  # () int32, of all environments so far
    task: Array  # () int32, index
    stays: Array  # () bool: the task does not change
    key: Key


def environment(domain: Domain, changes: Sequence[Change], tasks: tuple[Task, ...], num_envs: int) -> Environment:
    """A sequence of tasks as an environment on the device; one program serves all tasks.

    When the steps so far reach the end of a task, all environments begin anew in the next task: what did not terminate
    is truncated. In a task each environment begins all its episodes in one state of its own, as in the published
    program. Numbers of an action act from -1 to 1.

    Args:
        domain: of the robot.
        changes: one for each task, in order.
        tasks: in order; steps are those of all environments of a member together.
        num_envs: environments of each member.

    Raises:
        ValueError: if the engine is not installed.
    """
    E, robot = num_envs, ROBOTS[domain]
    configs = [edited(domain, change) for change in changes]
    at, calendar = robots(domain, configs), Calendar(tasks)
    seen = np.stack([~np.isin(robot.quantities, change.hidden) for change in changes]) if robot.quantities else None
    factors = np.array([change.actions or (1.0,) * robot.action for change in changes], np.float32)

    def observed(observation: Array, task: Array) -> Array:
        return observation if seen is None else observation * jnp.asarray(seen)[task]

    def begin(key: Key, task: Array) -> tuple[Bodies, Array]:
        """The states in which the episodes of a task begin, with their observations."""
        first = jax.vmap(at(task).reset)(jax.random.split(key, E))
        return _bodies(first.qp), observed(first.obs, task)

    def started(key: Key, task: Array, stays: bool) -> tuple[State, Array]:
        key, first_key = jax.random.split(key)
        bodies, observation = begin(first_key, task)
        age, steps = jnp.zeros(E, jnp.int32), jnp.zeros((), jnp.int32)
        task = jnp.asarray(task, jnp.int32)
        return State(bodies, bodies, observation, age, steps, task, jnp.array(stays), key), observation

    def step(state: State, action: Array) -> tuple[State, Timestep]:
        force = jnp.clip(action, -1, 1) * jnp.asarray(factors)[state.task]
        after = jax.vmap(_move(at(state.task)))(state.bodies, force)
        final, age, steps = observed(after.obs, state.task), state.age + 1, state.steps + E
        task = jnp.where(state.stays, state.task, calendar.task(steps))
        border = task != state.task
        terminated = after.done > 0
        truncated = ~terminated & ((age >= TIME_LIMIT) | border)
        ended = terminated | truncated

        kept, key = (state.first, state.first_observation), jax.random.fold_in(state.key, steps)
        first, first_observation = rarely(border, begin, kept, key, task)
        bodies, observation = jax.tree.map(
            lambda new, old: jnp.where(ended.reshape(E, *[1] * (old.ndim - 1)), new, old),
            (first, first_observation),
            (_bodies(after.qp), final),
        )
        age = jnp.where(ended, 0, age)
        now = State(bodies, first, first_observation, age, steps, task, state.stays, state.key)
        return now, Timestep(observation, after.reward, terminated, truncated, final, {})

    spec = Spec(jax.ShapeDtypeStruct((robot.observation,), jnp.float32), Continuous(robot.action))
    return Environment(
        spec,
        E,
        tasks[-1].until,
        jax.jit(lambda key: started(key, jnp.zeros((), jnp.int32), stays=False)),
        jax.jit(step),
        tasks=tasks,
        render=views(configs, [task.name for task in tasks]),
        init_task=jax.jit(lambda key, task: started(key, task, stays=True)),
    )


def _move(robot: Any) -> Callable[[Bodies, Array], Any]:
    """One step of one environment: `(bodies, action) -> state` of the engine."""
    state, qp = load("envs.env").State, load("physics.base").QP

    def move(bodies: Bodies, action: Array) -> Any:
        return robot.step(state(qp(*bodies), obs=None, reward=None, done=jnp.zeros(())), action)

    return move


def _bodies(qp: Any) -> Bodies:
    return Bodies(qp.pos, qp.rot, qp.vel, qp.ang)
