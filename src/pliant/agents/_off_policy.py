"""Off-policy agents: a replay, exploration, and the schedule of updates; no algorithm.

for each call of `learn`, after `horizon` steps of all environments:
    replay <- the steps
    unless the agent still explores at random:
        for each update:
            batch <- the replay
            state <- the agent's update (batch)
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core.agent import Transitions
from pliant.core.base import Array, Key
from pliant.core.clock import Calendar, Clock
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
    """When a member learns: static numbers.

    A segment is a task, for an agent that restarts with each task, or else the whole run. Updates are numbered from 1
    in each segment.
    """

    horizon: int  # steps of each environment in a call of `learn`
    steps: int  # steps of all environments in a call
    updates: int  # in a call that learns
    first: int  # call of a segment that learns, counted from 0
    calls: int  # of a whole run
    starts: tuple[int, ...] = (0,)  # calls before each segment

    @property
    def updates_in_segments(self) -> list[int]:
        """Updates of each segment."""
        lengths = np.diff([*self.starts, max(self.calls, self.starts[-1])])
        return [max(0, int(calls) - self.first) * self.updates for calls in lengths]

    def call(self, calls: Array | int) -> Array:
        """`()` calls of the segment before the next call, also on the host."""
        return calls - _height(calls, self.starts, np.diff(self.starts, prepend=0))

    def learns(self, calls: Array | int) -> Array:
        """`()` bool: whether the next call makes updates, also on the host."""
        return self.call(calls) >= self.first

    def numbers(self, calls: Array) -> Array:
        """Which updates the next call makes, `(updates,)`, if it makes any."""
        return (self.call(calls) - self.first) * self.updates + 1 + jnp.arange(self.updates)

    def clock(
        self,
        calendar: Calendar,
        calls: Array,
        number: Array | None = None,
        of_network: Callable[[Any], Any] = lambda n: n,
    ) -> Clock:
        """The clock of a network at an update of the next call.

        Args:
            calendar: the tasks of the run.
            calls: `()` calls before.
            number: `()` of the update; `None`: the first in this call or a later one.
            of_network: how many of the first n updates of a segment are updates of the network, for each n.
        """
        rises = jnp.array([0, *map(of_network, self.updates_in_segments[:-1])])

        def updates_before(steps: Any) -> Array:
            """Updates of the network before the first call with data after so many steps of a member."""
            calls = -(-steps // self.steps)
            updates = jnp.maximum(0, self.call(calls) - self.first) * self.updates
            return _height(calls, self.starts, rises) + of_network(updates)

        update = None if number is None else _height(calls, self.starts, rises) + of_network(number)
        return calendar.clock(calls * self.steps, update, updates_before)


def _height(x: Array | int, places: Sequence[int], rises: Any) -> Array:
    """`()` sum of the rises at places up to x: the height of a staircase."""
    return ((x >= np.asarray(places, np.int32)) * rises.astype(np.int32)).sum(dtype=np.int32)


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


def schedule_of(config: Config, environment: Environment | HostEnvironment, restarts: bool = False) -> Schedule:
    """The shortest calls with a whole number of updates; updates begin once exploration ends and returns exist.

    Args:
        config: `update_to_data`, `learning_starts` and `n_step`.
        environment: its number of environments, its steps of a run, and its tasks.
        restarts: whether each task is a segment of its own, which begins with exploration and an empty replay.
    """
    per_time = Fraction(float(config.update_to_data)).limit_denominator(1000) * environment.num_envs
    horizon, updates = per_time.denominator, per_time.numerator
    steps = horizon * environment.num_envs
    first = max(-(-config.learning_starts // steps), -(-config.n_step // horizon) - 1)
    ends = [task.until for task in environment.tasks[:-1]] if restarts else []
    return Schedule(
        horizon, steps, updates, first, -(-environment.steps // steps), (0, *(-(-end // steps) for end in ends))
    )


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


def explore(key: Key, explores: Array, action: Array, bound: float) -> Array:
    """Actions uniform within the bound while a member explores, and the agent's own after it.

    Args:
        key: consumed.
        explores: `()` bool.
        action: the agent's own, `(num_envs, size)`.
        bound: largest magnitude of each part of an action.
    """
    return jnp.where(explores, jax.random.uniform(key, action.shape, minval=-bound, maxval=bound), action)


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

    @functools.partial(jax.jit, inline=True)  # traced once for the shapes and the branch
    def updates() -> tuple[_State, dict[str, Array]]:
        if schedule.updates == 1:  # a loop would take longer
            return update(state, jax.tree.map(lambda x: x[0], batches), numbers[0])
        after, metrics = jax.lax.scan(lambda s, now: update(s, *now), state, (batches, numbers))
        return after, jax.tree.map(lambda x: x.mean(0), metrics)

    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(updates)[1])
    return jax.lax.cond(schedule.learns(calls), updates, lambda: (state, nothing))


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
    # A size of -1 is not known for a batch of none.
    return observation.reshape(observation.shape[0], math.prod(observation.shape[1:])).astype(jnp.float32)
