"""A problem and an agent whose episodes can be told beforehand, on the device and outside of it.

The episodes of the last environment have 1 step and terminate, those of the one before it 5 and are cut short, then 9,
and so on. A step is rewarded by 1 more than its action. What is seen is a tenth of the steps of an episode so far. The
agent's action is its `mean`, which grows by its step size each time it learns, and 1 more for each step of an episode
so far; unless it is greedy there is noise on it.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import environments
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from pliant.core.agent import Agent, Transitions
from pliant.core.problem import Continuous, Environment, HostEnvironment, Spec, Timestep


@dataclasses.dataclass(frozen=True)
class Uneven:
    """Settings of the problem."""

    steps: int = 64
    """Length of a run."""
    num_envs: int = 2
    """How many run side by side."""


class State(NamedTuple):
    key: Any  # (num_envs,)
    time: Any  # (num_envs,) steps of the episode so far
    number: Any  # (num_envs,) episodes before it


def uneven(config: Uneven) -> Environment:
    """On the device; `info` has the episode's number, from 0, and a random number of its own."""
    E = config.num_envs
    length = 1 + 4 * np.arange(E)[::-1]

    def init(key):
        state = State(jax.random.split(key, E), jnp.zeros(E, jnp.int32), jnp.zeros(E, jnp.int32))
        return state, jnp.zeros((E, 1))

    def draw(key, number):
        return jax.random.uniform(jax.random.fold_in(key, number))

    def step(state, action):
        time = state.time + 1
        ended = time == length
        info = {"number": state.number, "draw": jax.vmap(draw)(state.key, state.number)}
        seen = time[:, None] / 10
        state = State(state.key, jnp.where(ended, 0, time), state.number + ended)
        return state, Timestep(
            state.time[:, None] / 10, 1 + action[:, 0], ended & (length == 1), ended & (length > 1), seen, info
        )

    spec = Spec(jax.ShapeDtypeStruct((1,), jnp.float32), Continuous(1))
    return Environment(spec, E, config.steps, init, step)


class LevelHost:
    """The same outside of the device, with a level that is saved: it rises by what a member's episodes draw."""

    def __init__(self, host: environments.ArenaHost, members: int):
        self._host, self._level = host, np.zeros(members)
        self.reset, self.send, self.draw, self.close = host.reset, host.send, host.draw, host.close

    def receive(self) -> Timestep:
        answer = self._host.receive()
        level = np.broadcast_to(self._level[:, None], answer.reward.shape)
        self._level = self._level + answer.info["draw"].sum(1)
        return answer._replace(info={**answer.info, "level": level})

    def save(self) -> dict[str, np.ndarray]:
        return {"level": self._level, **self._host.save()}

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        self._level = saved["level"]
        self._host.restore(saved)


def uneven_host(config: Uneven) -> HostEnvironment:
    """Outside of the device."""
    environment = environments.as_host(uneven(config))
    return environment._replace(
        open=lambda seed: LevelHost(environment.open(seed), len(seed)),
        render=lambda seed: LevelHost(environment.render(seed), 1),
    )


@dataclasses.dataclass(frozen=True)
class Riser:
    """Settings of the agent."""

    horizon: int = 8
    """Steps between two rounds of learning."""
    learning_rate: float = 0.5
    """What the mean grows by."""


class Mean(NamedTuple):
    key: Any  # not used: it is there to be saved
    mean: Any


def riser(config: Riser, environment: Environment | HostEnvironment, methods_for: Any) -> Agent:
    """The agent."""
    del methods_for

    def init(key):
        return Mean(key, jax.random.uniform(key))

    def act(acting_params, carry, observation, is_first, key, *, greedy=False):
        carry = jnp.where(is_first, 0, carry + 1)
        noise = 0.0 if greedy else jax.random.normal(key, carry.shape)
        return carry, (acting_params + carry + noise)[:, None], {}

    def learn(state: Mean, transitions: Transitions, calls):
        mean = state.mean + config.learning_rate
        return Mean(state.key, mean), {"mean": mean}

    def nothing(previous, state, transitions):
        return {}

    return Agent(config.horizon, init, lambda state: state.mean, lambda E: np.zeros(E, np.float32), act, learn, nothing)


@jax.jit
def _initial_mean(seed):
    return jax.random.uniform(jax.random.split(jax.random.split(jax.random.key(seed))[1])[0])


def initial_mean(seed: int) -> float:
    """Of a member: its key is split for problem and agent, the agent's for its state and its actions."""
    return float(_initial_mean(seed))


def add(patch: pytest.MonkeyPatch) -> None:
    """Lets the registry find `uneven`, `uneven_host` and `riser`."""
    for make in (uneven, uneven_host):
        toys.add(patch, "problems", make.__name__, AGENTS={"riser": {}}, Config=Uneven, make=make)
    toys.add(patch, "agents", "riser", LEARNS_FROM="environment", Config=Riser, make=riser)
