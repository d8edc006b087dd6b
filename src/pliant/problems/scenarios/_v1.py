"""The scenarios on the old engine of Brax, the published experiments' engine, as environments on the device."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
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

    When the steps so far reach the end of a task, all environments restart in the next task: what did not terminate
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
    configs, calendar = [edited(domain, change) for change in changes], Calendar(tasks)
    begin, move = _physics(domain, changes, configs, E)

    @jax.jit
    def start(key: Key, task: Array, stays: Array) -> tuple[State, Array]:
        key, first_key = jax.random.split(key)
        bodies, observation = begin(first_key, task)
        age, steps = jnp.zeros(E, jnp.int32), jnp.zeros((), jnp.int32)
        return State(bodies, bodies, observation, age, steps, task, stays, key), observation

    def init(key: Key) -> tuple[State, Array]:
        return start(key, np.int32(0), np.bool_(False))

    def init_task(key: Key, task: Array) -> tuple[State, Array]:
        return start(key, jnp.asarray(task, jnp.int32), np.bool_(True))

    @jax.jit
    def step(state: State, action: Array) -> tuple[State, Timestep]:
        after, final, reward, terminated = move(state.bodies, action, state.task)
        age, steps = state.age + 1, state.steps + E
        task = jnp.where(state.stays, state.task, calendar.task(steps))
        border = task != state.task
        truncated = ~terminated & ((age >= TIME_LIMIT) | border)
        ended = terminated | truncated

        kept, key = (state.first, state.first_observation), jax.random.fold_in(state.key, steps)
        first, first_observation = rarely(border, begin, kept, key, task)
        bodies, observation = jax.tree.map(
            lambda new, old: jnp.where(ended.reshape(E, *[1] * (old.ndim - 1)), new, old),
            (first, first_observation),
            (after, final),
        )
        age = jnp.where(ended, 0, age)
        now = State(bodies, first, first_observation, age, steps, task, state.stays, state.key)
        return now, Timestep(observation, reward, terminated, truncated, final, {})

    spec = Spec(jax.ShapeDtypeStruct((robot.observation,), jnp.float32), Continuous(robot.action))
    return Environment(
        spec,
        E,
        tasks[-1].until,
        init,
        step,
        tasks=tasks,
        render=views(configs, [task.name for task in tasks]),
        init_task=init_task,
    )


class _Physics(NamedTuple):
    begin: Callable[[Key, Array], tuple[Bodies, Array]]  # (key, task) -> first states and observations of a task
    move: Callable[[Bodies, Array, Array], tuple[Bodies, Array, Array, Array]]  # (bodies, action, task) -> one step


def _physics(domain: Domain, changes: Sequence[Change], configs: Sequence[Any], num_envs: int) -> _Physics:
    """The engine's functions for all environments of a member; the index `()` of the task may be traced."""
    robot, at = ROBOTS[domain], robots(domain, configs)
    seen = np.stack([~np.isin(robot.quantities, change.hidden) for change in changes]) if robot.quantities else None
    factors = np.array([change.actions or (1.0,) * robot.action for change in changes], np.float32)
    engine_state, engine_bodies = load("envs.env").State, load("physics.base").QP

    def unpacked(state: Any, task: Array) -> tuple[Bodies, Array]:
        observation = state.obs if seen is None else state.obs * jnp.asarray(seen)[task][None]
        return Bodies(state.qp.pos, state.qp.rot, state.qp.vel, state.qp.ang), observation

    def begin(key: Key, task: Array) -> tuple[Bodies, Array]:
        with _rules():
            return unpacked(jax.vmap(at(task).reset)(jax.random.split(key, num_envs)), task)

    def move(bodies: Bodies, action: Array, task: Array) -> tuple[Bodies, Array, Array, Array]:
        environment = at(task)

        def one(bodies: Bodies, action: Array) -> Any:
            state = engine_state(engine_bodies(*bodies), obs=None, reward=None, done=jnp.zeros(()))
            return environment.step(state, action)

        with _rules():
            state = jax.vmap(one)(bodies, jnp.clip(action, -1, 1) * jnp.asarray(factors)[task])
            return *unpacked(state, task), state.reward, state.done > 0

    return _Physics(begin, move)


@contextmanager
def _rules() -> Generator[None]:
    """How the engine computes: in full precision also on accelerators, and with arrays of other ranks."""
    with jax.default_matmul_precision("highest"), jax.numpy_rank_promotion("allow"):
        yield
