"""Off-policy agents: a replay, exploration, and the schedule of updates; no algorithm.

for each call of `learn`, after `horizon` steps of all environments:
    replay <- the steps
    unless the agent still explores at random:
        for each update:
            batch <- the replay
            state <- the agent's update (batch)
"""

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from pliant.core.agent import Transitions
from pliant.core.base import Array, Key
from pliant.core.problem import Continuous, Environment, HostEnvironment
from pliant.core.settings import AtLeast, Between

from ._replay import Replay, Steps, Stored
from ._shapes import require_rank

_State = TypeVar("_State")


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of all off-policy agents."""

    learning_starts: Annotated[int, AtLeast(0)] = 25_000
    """Steps of a member with random actions before the first update."""
    buffer_size: Annotated[int, AtLeast(1)] = 1_000_000
    """Size of the replay (steps of all environments of a member together)."""
    batch_size: Annotated[int, Between(1, 1_000_000)] = 256
    """Batch size of an update."""
    update_to_data: Annotated[float, AtLeast(0.001)] = 1.0
    """Updates per step of an environment; 0.25: one every fourth step."""
    discount: Annotated[float, Between(0, 1)] = 0.99
    """Discount per step."""
    n_step: Annotated[int, AtLeast(1)] = 1
    """n of the n-step return."""
    truncation: Literal["bootstrap", "terminal"] = "bootstrap"
    """What follows a time limit: the value of the last observation, or no future."""


class Schedule(NamedTuple):
    """When a member learns: static numbers."""

    horizon: int  # steps of each environment in a call of `learn`
    steps: int  # steps of all environments in a call
    updates: int  # in a call
    first: int  # call that learns
    updates_in_all: int  # of a whole run

    def numbers(self, calls: Array) -> Array:
        """Which updates the next call makes, `(updates,)`, counted from 1."""
        return (calls - self.first) * self.updates + 1 + jnp.arange(self.updates)

    def updates_before(self, steps: Any) -> Any:
        """Updates before the first call with data after so many steps of a member."""
        return jnp.maximum(0, -(-steps // self.steps) - self.first) * self.updates


def continuous_actions(environment: Environment | HostEnvironment, agent: str) -> Continuous:
    """The actions of an environment, for an agent that makes its own networks.

    Args:
        environment: where to act.
        agent: its name, for the errors.

    Raises:
        ValueError: if actions are discrete, or the environment has its own network.
    """
    action = environment.spec.action
    if not isinstance(action, Continuous):
        raise ValueError(
            f"{agent} needs continuous actions, and this problem has {action.n} discrete ones; write agent ppo or a2c"
        )
    if environment.network is not None:
        raise ValueError(f"{agent} makes its own networks, but this problem brings a network; write agent ppo or a2c")
    return action


def schedule_of(config: Config, environment: Environment | HostEnvironment) -> Schedule:
    """The shortest calls with a whole number of updates; updates begin once exploration ends and returns exist.

    Args:
        config: `update_to_data`, `learning_starts` and `n_step`.
        environment: its number of environments, and its steps of a run.
    """
    per_time = Fraction(float(config.update_to_data)).limit_denominator(1000) * environment.num_envs
    horizon, updates = per_time.denominator, per_time.numerator
    steps = horizon * environment.num_envs
    first = max(-(-config.learning_starts // steps), -(-config.n_step // horizon) - 1)
    calls = -(-environment.steps // steps)
    return Schedule(horizon, steps, updates, first, max(0, calls - first) * updates)


def replay_for(config: Config, environment: Environment | HostEnvironment, horizon: int, extras: Any = ()) -> Replay:
    """The replay of an agent.

    Args:
        config: `buffer_size` and `n_step`.
        environment: its observations and (continuous) actions.
        horizon: steps of each environment that are added at once.
        extras: tree of `jax.ShapeDtypeStruct`: further data of a step.

    Raises:
        ValueError: if the buffer is too small.
    """
    action = jax.ShapeDtypeStruct((environment.spec.action.size,), jnp.float32)
    observation = environment.spec.observation
    replay = Replay(environment.num_envs, config.buffer_size, observation, action, extras, config.n_step)
    replay.check(horizon)
    return replay


def explore(config: Config, key: Key, steps: Array, action: Array, bound: float) -> Array:
    """Actions uniform within the bound before `learning_starts`, and the agent's own after it.

    Args:
        config: `learning_starts`.
        key: consumed.
        steps: `()`, of the member so far.
        action: the agent's own, `(num_envs, size)`.
        bound: largest magnitude of each part of an action.
    """
    at_random = jax.random.uniform(key, action.shape, minval=-bound, maxval=bound)
    return jnp.where(steps < config.learning_starts, at_random, action)


def store(
    config: Config, replay: Replay, stored: Stored, transitions: Transitions, is_first: Array, extras: Any = ()
) -> Stored:
    """Adds transitions to the replay.

    Args:
        config: `truncation`.
        replay, stored: the replay.
        transitions: `(horizon, num_envs, ...)`.
        is_first: `(horizon, num_envs)` bool: the first observation of an episode.
        extras: further data of each step.
    """
    no_future = transitions.terminated
    if config.truncation == "terminal":
        no_future = no_future | transitions.truncated
    steps = Steps(transitions.observation, transitions.action, extras, transitions.reward, no_future)
    return replay.add(stored, steps, is_first, transitions.next_observation)


def make_updates(
    schedule: Schedule,
    update: Callable[[_State, Any, Array], tuple[_State, dict[str, Array]]],
    state: _State,
    batches: Any,
    calls: Array,
) -> tuple[_State, dict[str, Array]]:
    """Makes the updates of one call of `learn`, or none while the agent explores at random.

    Args:
        schedule: when there are updates.
        update: `(state, batch, number) -> (state, metrics)`, `number` `()` as in `Schedule.numbers`.
        state: before the updates; without the replay, which a branch or a loop might copy.
        batches: the batch of each update, on a leading axis.
        calls: `()`, earlier calls of `learn`.

    Returns:
        The state after the updates, and the means of their metrics, 0 where there were none.
    """
    numbers = schedule.numbers(calls)

    def updates() -> tuple[_State, dict[str, Array]]:
        if schedule.updates == 1:  # a loop would take longer
            return update(state, jax.tree.map(lambda x: x[0], batches), numbers[0])
        after, metrics = jax.lax.scan(lambda s, now: update(s, *now), state, (batches, numbers))
        return after, jax.tree.map(lambda x: x.mean(0), metrics)

    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(updates)[1])
    return jax.lax.cond(calls >= schedule.first, updates, lambda: (state, nothing))


def td_targets(reward: Array, discount: Array, next_value: Array) -> Array:
    r"""Targets of the values, `(batch,)`: $y = R + \gamma^m V'$.

    Args:
        reward: $R$, `(batch,)` like all arrays here: the discounted sum of $m$ rewards.
        discount: $\gamma^m$; 0 where the episode terminated.
        next_value: $V'$, of the observation after $m$ steps.
    """
    require_rank(1, reward=reward, discount=discount, next_value=next_value)
    return reward + discount * next_value


def weighted_mean(values: Array, weight: Array) -> Array:
    """The mean of `(batch,)` values with weights, `()`; 0 if all weights are 0."""
    require_rank(1, values=values, weight=weight)
    return (values * weight).sum() / jnp.maximum(weight.sum(), 1)


def flat(observation: Array) -> Array:
    """Observations as float32 vectors, `(batch, size)`."""
    return observation.reshape(observation.shape[0], -1).astype(jnp.float32)
