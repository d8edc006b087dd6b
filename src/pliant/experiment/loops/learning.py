"""Learning from a round of transitions, wherever they were collected."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from pliant.core.agent import Agent, Transitions
from pliant.core.base import Array
from pliant.experiment.configuration.components import Components


def round_steps(components: Components) -> int:
    """Steps between two updates of an agent, over all environments of a member."""
    return components.agent.horizon * components.problem.num_envs


def learn(
    components: Components, state: Any, transitions: Transitions, number: Array
) -> tuple[Any, dict[str, Array], Array]:
    """Learns from a round, after `number` rounds.

    Returns:
        The agent's state, the metrics of the round, and the step of divergence, `()`: the step of the first observation
        or reward that is not finite, or the last step of the round if a metric is not finite, or -1.
    """
    agent: Agent = components.agent
    state, metrics = agent.learn(state, transitions, number)
    metrics = {"reward": transitions.reward.mean(), **metrics}
    learned = jnp.stack([jnp.isfinite(value) for value in metrics.values()]).all()
    steps, first = round_steps(components), first_not_finite(transitions)
    diverged = jnp.where(first >= 0, number * steps + first + 1, jnp.where(learned, -1, (number + 1) * steps))
    return state, metrics, diverged.astype(jnp.int32)


def average(averages: dict[str, Array], metrics: dict[str, Array], rounds: Array) -> dict[str, Array]:
    """The averages with one more round.

    Args:
        averages: over the rounds of the chunk so far; not used at the first round.
        metrics: of the round.
        rounds: `()`, rounds of the chunk before it.
    """

    def of_one(mean: Array, value: Array) -> Array:
        mean = jnp.where(rounds == 0, 0, mean)
        return mean + (value - mean) / (rounds + 1)

    return {name: of_one(averages[name], value) for name, value in metrics.items()}


def if_due(due: Array, function: Callable[[Any], Any], operand: Any) -> Any:
    """The result of a function where it is due, which is the same for all members; else zeros like it."""
    nothing = zeros_like(jax.eval_shape(function, operand))
    return jax.lax.cond(due, function, lambda _: nothing, operand)


def zeros_like(tree: Any) -> Any:
    """Zeros of the shapes and types of a tree, which may have shapes alone."""
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), tree)


def metric_names(components: Components) -> tuple[str, ...]:
    """The names of the metrics of a round; takes a trace of the program that learns."""

    def metrics() -> dict[str, Array]:
        state = components.agent.init(jax.random.key(0))
        return learn(components, state, zero_transitions(components), jnp.int32(0))[1]

    return tuple(jax.eval_shape(metrics))


def first_not_finite(transitions: Transitions) -> Array:
    """The first of a round's steps, `()`, with an observation or a reward that is not finite; -1 if there is none.

    Steps count from 0, those of all environments at one time before those at the next.
    """
    seen = (transitions.observation, transitions.next_observation, transitions.reward)
    bad = sum((~jnp.isfinite(x)).reshape(*x.shape[:2], -1).any(-1) for x in seen) > 0  # (horizon, num_envs)
    return jnp.where(bad.any(), jnp.argmax(bad), -1)


def zero_transitions(components: Components) -> Transitions:
    """A round of zeros with the shapes and types of transitions; no environment is stepped."""
    environment, agent = components.problem, components.agent
    T, E = agent.horizon, environment.num_envs
    observation = jnp.zeros((E, *environment.spec.observation.shape), environment.spec.observation.dtype)

    def act() -> tuple[Any, Any]:
        key = jax.random.key(0)
        params = agent.acting_params(agent.init(key))
        return agent.act(params, agent.initial_carry(E), observation, jnp.ones(E, bool), key)[1:]

    action, extras = jax.tree.map(lambda x: jnp.zeros((T, *x.shape), x.dtype), jax.eval_shape(act))
    nothing = jnp.zeros((T, E), bool)
    seen = jnp.broadcast_to(observation, (T, *observation.shape))
    return Transitions(seen, action, extras, jnp.zeros((T, E)), nothing, nothing, seen)
