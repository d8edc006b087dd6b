"""The losses of soft actor-critic, and their settings.

Three departures of the published program of the continual scenarios are settings, and off by default: the correction
for tanh is halved, targets have the mean entropy of the batch, and the actor learns from the next states, too.
"""

import dataclasses
from typing import Annotated, Any, Literal, NamedTuple

import jax.numpy as jnp

from pliant.core.base import Array, Features, Key, Params
from pliant.core.continual import TaskNetwork
from pliant.core.problem import Network
from pliant.core.settings import AtLeast

from ._actor_and_critics import Both
from ._off_policy import flat, td_targets, weighted_mean
from ._replay import Sample
from ._squashed_normal import Correction, SquashedNormal


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the losses."""

    target_multiplier: float = 1.0
    """Target entropy in nats per number of an action, with the sign changed."""
    reward_scale: Annotated[float, AtLeast(0)] = 1.0
    """Factor of rewards in updates."""
    tanh_correction: Correction = "full"
    """Correction of log probabilities for tanh; half: halved, and log 2 less per number of an action, as published."""
    entropy_target: Literal["sample", "batch_mean"] = "sample"
    """Entropy in a target: of the next action itself, or the mean over the batch, as published."""
    actor_states: Literal["first", "both"] = "first"
    """States that actor and temperature learn from: those of the batch, or the next states as well, as published."""


class Contexts(NamedTuple):
    """The keys of what the actor gets beside the states of one update, see `TaskNetwork.draw`."""

    target: Key  # in the next states
    actor: Key  # in the states that the actor learns from, if it learns


class Noise(NamedTuple):
    """The standard normal numbers of one update."""

    target: Array  # (batch, action): for actions in the next states
    actor: Array  # (states, action): for actions in the states that the actor learns from


@dataclasses.dataclass(frozen=True)
class Losses:
    """The losses of one batch.

    Args:
        config: the settings.
        actor, critics: the networks.
        wiring: of both; that of an actor without known units has no function.
        target_entropy: of the actor's numbers in (-1, 1).
        bound: largest magnitude of each part of an action.
    """

    config: Config
    actor: TaskNetwork
    critics: Network
    wiring: Both
    target_entropy: float | Array
    bound: float

    def targets(
        self, actor: Params, target: Params, alpha: Array, sample: Sample, noise: Array, context: Any = ()
    ) -> tuple[Array, Array]:
        """The targets of the values $y$ and the log probabilities of the next actions, `(batch,)` each."""
        s, config = flat(sample.next_observation), self.config
        a, log_p = SquashedNormal(*self.actor.apply(actor, s, context)).sample(noise, config.tanh_correction)
        Q = self.critics.apply(target, joined(s, self.bound * a, self.seen(self.actor.seen_of(context)))).min(1)
        entropy = -log_p
        if config.entropy_target == "batch_mean":
            entropy = jnp.broadcast_to(weighted_mean(entropy, sample.weight), entropy.shape)
        return td_targets(config.reward_scale * sample.reward, sample.discount, Q + alpha * entropy), log_p

    def of_critics(self, params: Params, sample: Sample, y: Array) -> tuple[Array, tuple[Features, Array]]:
        """$L_Q$, with features and the first critic's mean value."""
        x = joined(flat(sample.observation), sample.action, self.seen(sample.extras))
        Q, features = self.wiring.critics.apply(params, x)
        loss = weighted_mean(((Q - y[:, None]) ** 2).sum(1), sample.weight)
        return loss, (features, weighted_mean(Q[:, 0], sample.weight))

    def of_actor(
        self, params: Params, critics: Params, alpha: Array, sample: Sample, noise: Array, context: Any = ()
    ) -> tuple[Array, tuple[Features, Array, Any]]:
        r"""$L_\mu$, with features, the log probabilities of the actions, `(states,)`, and the actor's outputs."""
        s, weight = self.states(sample)
        if self.wiring.actor:
            outputs, features = self.wiring.actor.apply(params, s)
        else:
            outputs, features = self.actor.apply(params, s, context), {}
        a, log_p = SquashedNormal(*outputs).sample(noise, self.config.tanh_correction)
        Q = self.critics.apply(critics, joined(s, self.bound * a, self.seen(self.actor.seen_of(context)))).min(1)
        return weighted_mean(alpha * log_p - Q, weight), (features, log_p, outputs)

    def of_temperature(self, log_alpha: Array, sample: Sample, log_p: Array) -> Array:
        r"""$L_\alpha$, of the log probabilities of the actor's loss."""
        return -weighted_mean(jnp.exp(log_alpha) * (log_p + self.target_entropy), self.states(sample)[1])

    def states(self, sample: Sample) -> tuple[Array, Array]:
        """The states that the actor learns from, `(states, numbers)`, and their weights."""
        if self.config.actor_states == "first":
            return flat(sample.observation), sample.weight
        both = flat(sample.observation), flat(sample.next_observation)
        return jnp.concatenate(both), jnp.concatenate([sample.weight, sample.weight])

    def seen(self, numbers: Any) -> tuple[Array, ...]:
        """What critics get beside states and actions."""
        return (numbers,) if self.actor.seen else ()


def joined(s: Array, a: Array, more: tuple[Array, ...] = ()) -> Array:
    """The inputs of critics."""
    return jnp.concatenate([s, a, *more], axis=1)
