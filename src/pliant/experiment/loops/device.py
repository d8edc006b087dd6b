"""The loop that brings an agent and an arena on the device together, for one member of a population.

for each round of a stretch (one compiled call, all members):
    for each of `horizon` steps:
        action     <- the agent acts on what it sees
        transition <- the arena answers
    state <- the agent learns from the transitions
metrics <- means over the rounds; diagnostics on what was seen last
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pliant.core.agent import Agent, Transitions
from pliant.core.base import Array, Key
from pliant.core.problem import Environment

from .components import Components, Episodes, Metrics


class Member(NamedTuple):
    agent: Any  # the agent's state
    problem: Any  # the arena's state
    carry: Any  # what the agent remembers of the episodes in flight
    observation: Array  # (num_envs, *observation)
    is_first: Array  # (num_envs,) bool: the observation is the first of its episode
    returns: Array  # (num_envs,) rewards of the episodes in flight, so far
    lengths: Array  # (num_envs,) steps of the episodes in flight, so far
    acting_key: Key
    diverged: Array  # () the step at which a number was first not finite; -1: never


def keys_of(seed: Array) -> tuple[Key, Key, Key]:
    """The keys of the problem, of the agent's beginning, and of its actions.

    The problem has one of its own, so that members of one seed meet the same environments whatever their method.
    """
    problem_key, agent_key = jax.random.split(jax.random.key(seed))
    return problem_key, *jax.random.split(agent_key)


def begin(components: Components, seed: Array) -> Member:
    """The member as it is before the first step."""
    problem_key, init_key, acting_key = keys_of(seed)
    state, observation = components.problem.init(problem_key)
    E = components.problem.num_envs
    return Member(
        agent=components.agent.init(init_key),
        problem=state,
        carry=components.agent.initial_carry(E),
        observation=observation,
        is_first=jnp.ones(E, bool),
        returns=jnp.zeros(E),
        lengths=jnp.zeros(E, jnp.int32),
        acting_key=acting_key,
        diverged=jnp.full((), -1, jnp.int32),
    )


def advance(components: Components, member: Member, step: Array, steps: int) -> tuple[Member, Metrics, Episodes]:
    """Advances one member by a stretch.

    Args:
        components: what to run.
        member: its state.
        step: `()`, steps before the stretch; the same for all members.
        steps: the stretch's length, known when compiling; whole rounds.

    Returns:
        The member after it, and the metrics and the episodes of the stretch.
    """
    rounds, done = steps // components.steps_at_once, step // components.steps_at_once

    def watched(policy: Any, transitions: Transitions) -> Any:
        """What diagnostics need of a round."""
        return (policy, transitions) if components.diagnostics else ()

    def one_round(carry: Any, number: Array) -> tuple[Any, Any]:
        member, transitions, episodes = _collect(components, carry[0], number)
        policy = components.agent.policy(member.agent)
        state, metrics, diverged = learn(components, member.agent, transitions, number)
        diverged = jnp.where(member.diverged >= 0, member.diverged, diverged)
        member = member._replace(agent=state, diverged=diverged)
        return (member, watched(policy, transitions)), (metrics, episodes)

    last = jax.eval_shape(lambda: _collect(components, member, done))[1]
    nothing_yet = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), last)
    carry = (member, watched(components.agent.policy(member.agent), nothing_yet))
    (member, seen), (metrics, episodes) = jax.lax.scan(one_round, carry, done + jnp.arange(rounds))
    averaged = {(name, ""): values.mean() for name, values in metrics.items()}
    if components.diagnostics:
        policy, transitions = seen
        averaged |= components.measure(components.agent.signals(policy, member.agent, transitions))
    return member, averaged, {name: x.reshape(-1, *x.shape[2:]) for name, x in episodes.items()}


def _collect(components: Components, member: Member, number: Array) -> tuple[Member, Transitions, Episodes]:
    """Acts for one horizon; `number` rounds were before."""
    environment: Environment = components.problem
    agent: Agent = components.agent
    policy = agent.policy(member.agent)

    def one_step(member: Member, t: Array) -> tuple[Member, tuple[Transitions, Episodes]]:
        key = jax.random.fold_in(member.acting_key, t)
        carry, action, extras = agent.act(policy, member.carry, member.observation, member.is_first, key)
        problem, answer = environment.step(member.problem, action)
        ended = answer.terminated | answer.truncated
        returns, lengths = member.returns + answer.reward, member.lengths + 1
        transition = Transitions(
            member.observation, action, extras, answer.reward, answer.terminated, answer.truncated,
            answer.final_observation,
        )  # fmt: skip
        episodes = {"ended": ended, "return": returns, "length": lengths, **answer.info}
        member = member._replace(
            problem=problem,
            carry=carry,
            observation=answer.observation,
            is_first=ended,
            returns=jnp.where(ended, 0, returns),
            lengths=jnp.where(ended, 0, lengths),
        )
        return member, (transition, episodes)

    times = number * agent.horizon + jnp.arange(agent.horizon)
    member, (transitions, episodes) = jax.lax.scan(one_step, member, times)
    return member, transitions, episodes


def learn(
    components: Components, state: Any, transitions: Transitions, number: Array
) -> tuple[Any, dict[str, Array], Array]:
    """Learns from a round, wherever it was collected; `number` rounds were before.

    Returns:
        The agent's state, the metrics of the round, and `()` the step at which a number was first not finite, -1 for
        none: that of the observation or reward, or the last of the round if it was learning that went wrong.
    """
    agent: Agent = components.agent
    state, metrics = agent.learn(state, transitions, number)
    metrics = {"reward": transitions.reward.mean(), **metrics}
    learned = jnp.stack([jnp.isfinite(value) for value in metrics.values()]).all()
    steps, first = components.steps_at_once, first_not_finite(transitions)
    diverged = jnp.where(first >= 0, number * steps + first + 1, jnp.where(learned, -1, (number + 1) * steps))
    return state, metrics, diverged.astype(jnp.int32)


def first_not_finite(transitions: Transitions) -> Array:
    """The first of a round's steps, `()`, at which an observation or a reward is no number; -1 if none is.

    Steps count from 0, those of all environments at one time before those at the next.
    """
    seen = (transitions.observation, transitions.next_observation, transitions.reward)
    bad = sum((~jnp.isfinite(x)).reshape(*x.shape[:2], -1).any(-1) for x in seen) > 0  # (horizon, num_envs)
    return jnp.where(bad.any(), jnp.argmax(bad), -1)
