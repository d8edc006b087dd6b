"""Acting, in training and in evaluation, on the device and outside of it.

for each step of the environments:
    action <- the agent acts on the observation and its carry
    answer <- the environments
    returns and lengths of the episodes grow; where an episode ended, they restart
"""

from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core.agent import Agent
from pliant.core.base import Array, Key
from pliant.core.problem import Continuous, Discrete, Environment, Timestep


class ActingInput(NamedTuple):
    """The input of `Agent.act`; outside of the device with a leading axis of members."""

    carry: Any  # the agent's recurrent state
    observation: Any  # (num_envs, *observation)
    is_first: Any  # (num_envs,) bool: the observation is the first of its episode


class InFlight(NamedTuple):
    """The episodes in flight; outside of the device with a leading axis of members."""

    seen: ActingInput
    returns: Any  # (num_envs,) rewards of the episodes so far
    lengths: Any  # (num_envs,) steps of the episodes so far


class Acted(NamedTuple):
    """An action on the device, and its results."""

    action: Any  # (num_envs, ...)
    extras: Any  # for learning, such as log-probabilities
    answer: Timestep
    facts: dict[str, Any]  # as `follow` returns them


def begin_episodes(carry: Any, observation: Any, shape: tuple[int, ...], xp: ModuleType = jnp) -> InFlight:
    """The episodes before their first action.

    Args:
        carry: the agent's initial carry.
        observation: of the environments after a reset.
        shape: `(num_envs,)`; outside of the device `(members, num_envs)`.
        xp: `jax.numpy`, or `numpy` outside of the device.
    """
    seen = ActingInput(carry, observation, xp.ones(shape, bool))
    return InFlight(seen, xp.zeros(shape), xp.zeros(shape, np.int32))


def follow(now: InFlight, carry: Any, answer: Timestep, xp: ModuleType = jnp) -> tuple[InFlight, dict[str, Any]]:
    """The episodes in flight after an answer.

    Args:
        now: the episodes before the answer.
        carry: the agent's, after its action.
        answer: of the environments.
        xp: `jax.numpy`, or `numpy` outside of the device.

    Returns:
        The episodes in flight, and facts about the episodes, `(num_envs,)` each: `ended` (bool), and, valid where
        `ended` is true, `return`, `length` and the problem's records.
    """
    ended = answer.terminated | answer.truncated
    returns, lengths = now.returns + answer.reward, now.lengths + 1
    facts = {"ended": ended, "return": returns, "length": lengths, **answer.info}
    seen = ActingInput(carry, answer.observation, ended)
    return InFlight(seen, xp.where(ended, 0, returns), xp.where(ended, 0, lengths)), facts


def act(
    agent: Agent, space: Continuous | Discrete, params: Any, seen: ActingInput, key: Key, acting: str
) -> tuple[Any, Any, Any]:
    """The carry, the actions and their extras.

    Args:
        agent: the agent.
        space: of its actions.
        params: its acting parameters.
        seen: its input.
        key: consumed.
        acting: `greedy`, `sampled`, or `uniform`: actions that do not depend on the agent.
    """
    carry, action, extras = agent.act(params, *seen, key, greedy=acting != "sampled")
    if acting == "uniform":  # the greedy action draws nothing
        if isinstance(space, Discrete):
            action = jax.random.randint(key, action.shape, 0, space.n, action.dtype)
        else:
            action = jax.random.uniform(key, action.shape, action.dtype, -space.bound, space.bound)
    return carry, action, extras


def act_and_step(
    agent: Agent,
    environment: Environment,
    params: Any,
    state: Any,
    now: InFlight,
    key: Key,
    *,
    acting: str = "sampled",
) -> tuple[Any, InFlight, Acted]:
    """One step of all environments of a member on the device.

    Args:
        agent, environment: the agent and its environments.
        params: the agent's acting parameters.
        state: of the environments.
        now: the episodes in flight.
        key: consumed.
        acting: see `act`.

    Returns:
        The state of the environments, the episodes in flight, and the action with its results.
    """
    carry, action, extras = act(agent, environment.spec.action, params, now.seen, key, acting)
    state, answer = environment.step(state, action)
    now, facts = follow(now, carry, answer)
    return state, now, Acted(action, extras, answer, facts)


def episode_facts(facts: dict[str, Any], answer: Timestep) -> dict[str, Any]:
    """The facts of an episode for evaluation: the facts of `follow`, and how the episode ended."""
    of_episode = {name: values for name, values in facts.items() if name != "ended"}
    return {**of_episode, "terminated": answer.terminated, "truncated": answer.truncated}


def now_acting(agent: Agent, state: Any, shared: Any) -> Any:
    """The parameters that act now, as a question to agents, see `Programs.ask`."""
    del shared
    return agent.acting_params(state)


def acting_in_task(agent: Any, state: Any, task: Array) -> Any:
    """The parameters that act in a task, as a question to agents."""
    return agent.acting_params_for(state, task)


def harmless(action: np.ndarray) -> np.ndarray:
    """The actions for the environments: numbers that are not finite, of a member that diverged, become zeros."""
    return np.where(np.isfinite(action), action, action.dtype.type(0))
