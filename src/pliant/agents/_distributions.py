"""Distributions over actions, from the outputs of a policy network."""

import math
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from pliant.core.base import Array, Key
from pliant.core.problem import Continuous, Discrete


class Distribution(Protocol):
    """A distribution over actions for each of a batch of observations."""

    def sample(self, key: Key) -> Array:
        """Random actions, `(batch, ...)`; the key is consumed."""
        ...

    def mode(self) -> Array:
        """The most probable actions, `(batch, ...)`."""
        ...

    def log_prob(self, action: Array) -> Array:
        """Logarithm of the probability (density) of actions, `(batch,)`."""
        ...

    def entropy(self) -> Array:
        """Entropy in nats, `(batch,)`."""
        ...


class DiagonalNormal(NamedTuple):
    """Independent normal numbers; nothing squashes or clips them."""

    mean: Array  # (batch, size)
    log_std: Array  # (size,): the same for all observations

    def sample(self, key: Key) -> Array:
        """`(batch, size)`."""
        noise = jax.random.normal(key, self.mean.shape, self.mean.dtype)
        return self.mean + jnp.exp(self.log_std)[None] * noise

    def mode(self) -> Array:
        """`(batch, size)`."""
        return self.mean

    def log_prob(self, action: Array) -> Array:
        """`(batch,)`, summed over the parts of an action."""
        log_std = self.log_std[None]
        z = (action - self.mean) * jnp.exp(-log_std)
        return (-0.5 * z**2 - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self) -> Array:
        """`(batch,)`, summed over the parts of an action."""
        one = (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum()
        return jnp.broadcast_to(one, self.mean.shape[:1])


class Categorical(NamedTuple):
    """One of `n` actions."""

    logits: Array  # (batch, n), not normalized

    def sample(self, key: Key) -> Array:
        """`(batch,)` int32."""
        return jax.random.categorical(key, self.logits).astype(jnp.int32)

    def mode(self) -> Array:
        """`(batch,)` int32."""
        return self.logits.argmax(-1).astype(jnp.int32)

    def log_prob(self, action: Array) -> Array:
        """`(batch,)`."""
        return jnp.take_along_axis(jax.nn.log_softmax(self.logits), action[:, None], axis=1)[:, 0]

    def entropy(self) -> Array:
        """`(batch,)`."""
        log_p = jax.nn.log_softmax(self.logits)
        return -(jnp.exp(log_p) * log_p).sum(-1)


def distribution(action: Continuous | Discrete, outputs: Any) -> Distribution:
    """The distribution over actions for a network's policy outputs.

    Args:
        action: the environment's space of actions.
        outputs: `(mean, log_std)` for continuous actions, logits `(batch, n)` for discrete ones.
    """
    return DiagonalNormal(*outputs) if isinstance(action, Continuous) else Categorical(outputs)
