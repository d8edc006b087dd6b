"""Toys that configurations find by their names as long as a test lasts."""

import dataclasses
import sys
import types
from typing import Annotated, Any, Literal, NamedTuple

import environments
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pliant.core import registry
from pliant.core.agent import Agent, Transitions
from pliant.core.clock import Task
from pliant.core.problem import Continuous, Discrete, Environment, HostEnvironment, Spec, Timestep
from pliant.core.settings import AtLeast
from pliant.experiment.configuration.components import Components
from pliant.experiment.configuration.config import RunConfig
from pliant.experiment.loops.plan import Programs
from pliant.experiment.loops.planning import plan, unchecked_plan


@dataclasses.dataclass(frozen=True)
class Drift:
    """Settings of `drift` and `drift_host`, which are one problem in the two forms."""

    steps: Annotated[int, AtLeast(1)] = 96
    """Length of a run, in steps of environments."""
    num_envs: Annotated[int, AtLeast(1)] = 1
    """How many run side by side."""
    time_limit: Annotated[int, AtLeast(1)] = 12
    """Steps after which an episode is cut short."""
    scale: float = 1.0
    """What rewards are multiplied by."""
    discrete: bool = False
    """Whether there are three actions, or forces of two parts."""
    calm: Annotated[int, AtLeast(0)] = 0
    """Steps of a first task, `calm`, before the second, `windy`, which is no other; 0: there are no tasks."""


def drift(config: Drift) -> Environment:
    """On the device."""
    action = Discrete(3) if config.discrete else Continuous(2)
    environment = environments.auto_reset(
        environments.drifting(action), config.steps, config.num_envs, config.time_limit
    )

    def step(state, action):
        state, answer = environment.step(state, action)
        return state, answer._replace(reward=config.scale * answer.reward)

    tasks = (Task("calm", config.calm), Task("windy", config.steps)) if config.calm else ()
    return environment._replace(step=step, tasks=tasks)


def drift_host(config: Drift) -> HostEnvironment:
    """Outside of it."""
    return environments.as_host(drift(config))


class Script(NamedTuple):
    """What environments will do whatever is done in them, `(seeds, times, num_envs)` each."""

    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    observation: np.ndarray  # after each time: of a new episode where one ended
    final_observation: np.ndarray


def uneventful(seeds: int, times: int, num_envs: int) -> Script:
    """A script to be changed in place: no rewards, no ends, and what is seen is how many times there were before."""
    shape = (seeds, times, num_envs)
    seen = np.broadcast_to(np.arange(1.0, times + 1, dtype=np.float32)[:, None], shape)
    no = np.zeros(shape, bool)
    return Script(np.zeros(shape, np.float32), no, no.copy(), seen.copy(), seen.copy())


def scripted(script: Script, steps: int) -> Environment:
    """An environment that follows the script of the seed whose key begins it. The first observation is 0.

    `info` is the time, from 0, and never differs between environments.
    """
    keys = jax.jit(jax.vmap(lambda seed: jax.random.key_data(problem_key(seed))))(np.arange(len(script.reward)))
    num_envs = script.reward.shape[2]
    arrays = jax.device_put(script)

    def init(key):
        seed = jnp.argmax((keys == jax.random.key_data(key)[None]).all(1))
        return (seed, jnp.int32(0)), jnp.zeros((num_envs, 1))

    def step(state, action):
        del action
        seed, time = state
        now = jax.tree.map(lambda x: x[seed, time], arrays)
        observation, final_observation = now.observation[:, None], now.final_observation[:, None]
        info = {"time": jnp.broadcast_to(time, num_envs)}
        answer = Timestep(observation, now.reward, now.terminated, now.truncated, final_observation, info)
        return (seed, time + 1), answer

    return Environment(Spec(environments.NUMBER, Continuous(1)), num_envs, steps, init, step)


@jax.jit
def problem_key(seed: Any) -> jax.Array:
    """The key from which a seed's problem begins."""
    return jax.random.split(jax.random.key(seed))[0]


@jax.jit
def acting_key(seed: Any) -> jax.Array:
    """The key from which come, by the number of the time, those that a seed's agent acts with."""
    return jax.random.split(jax.random.split(jax.random.key(seed))[1])[1]


@dataclasses.dataclass(frozen=True)
class Scripted:
    """Settings of `scripted`."""

    steps: Annotated[int, AtLeast(1)] = 24
    """Length of a run, in steps of environments."""


@dataclasses.dataclass(frozen=True)
class Watcher:
    """Settings of `watcher`."""

    horizon: Annotated[int, AtLeast(1)] = 3
    """Times between two rounds."""
    pull: float = 0.0
    """How strongly an action goes against what is seen."""


class Watched(NamedTuple):
    rewards: Any  # () sum of all so far; it is what the agent acts by
    last: Transitions  # of the last round
    key: Any  # drawn from once a round


def watcher(config: Watcher, environment: Environment | HostEnvironment, methods_for: Any) -> Agent:
    """An agent that keeps what it saw in the last round, and says what it knew when it acted.

    Its memory counts the times of an episode, from 0. An action is a random number, more or less by what was rewarded.
    """
    del methods_for
    T, E = config.horizon, environment.num_envs
    size = environment.spec.action.size

    def init(key):
        def zeros(*shape, dtype=jnp.float32):
            return jnp.zeros((T, E, *shape), dtype)

        seen = zeros(*environment.spec.observation.shape)
        extras = {"is_first": zeros(dtype=bool), "carry": zeros(dtype=jnp.int32), "rewards": zeros()}
        never = zeros(dtype=bool)
        return Watched(jnp.zeros(()), Transitions(seen, zeros(size), extras, zeros(), never, never, seen), key)

    def act(acting_params, carry, observation, is_first, key, *, greedy=False):
        carry = jnp.where(is_first, 0, carry + 1)
        action = 0.0 if greedy else jax.random.normal(key, (E, size))
        action = action + 0.1 * jnp.sin(acting_params) - config.pull * observation
        return carry, action, {"is_first": is_first, "carry": carry, "rewards": jnp.broadcast_to(acting_params, (E,))}

    def learn(state, transitions, calls):
        rewards = state.rewards + transitions.reward.sum()
        key = jax.random.split(state.key)[0]
        return Watched(rewards, transitions, key), {"rewards": rewards, "calls": jnp.float32(calls)}

    def signals(previous, state, transitions):
        return {"previous": previous, "now": state, "transitions": transitions}

    return Agent(T, init, lambda state: state.rewards, lambda E: np.full(E, -5, np.int32), act, learn, signals)


def programs_of(config: RunConfig) -> Programs:
    """The programs of a run, planned for it alone."""
    its_plan = plan(config)
    return its_plan.loop.programs(its_plan)


def components_of(config: RunConfig) -> Components:
    """The components of a run's first member."""
    return unchecked_plan(config).components


def add(patch: pytest.MonkeyPatch, kind: Literal["problems", "agents"], name: str, **public: Any) -> None:
    """Lets the registry find a module with these public names until the patch is undone."""
    module = types.ModuleType(f"pliant.{kind}.{name}", "A toy.")
    vars(module).update(public)
    patch.setitem(sys.modules, module.__name__, module)
    before = registry._summaries
    patch.setattr(registry, "_summaries", lambda k: before(k) | ({name: "A toy."} if k == kind else {}))


def add_script(patch: pytest.MonkeyPatch, script: Script, form: Literal["device", "host"]) -> None:
    """Lets the registry find `scripted`, with the watcher as its agent."""

    def make(config: Scripted) -> Environment | HostEnvironment:
        environment = scripted(script, config.steps)
        return environments.as_host(environment) if form == "host" else environment

    add(patch, "problems", "scripted", AGENTS={"watcher": {}}, Config=Scripted, make=make)


def add_all(patch: pytest.MonkeyPatch) -> None:
    """Lets the registry find `drift`, `drift_host` and `watcher`."""
    for make in (drift, drift_host):
        add(patch, "problems", make.__name__, AGENTS={"ppo": {}}, Config=Drift, make=make)
    add(patch, "agents", "watcher", LEARNS_FROM="environment", Config=Watcher, make=watcher)
