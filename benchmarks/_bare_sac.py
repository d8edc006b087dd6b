"""The bare update of soft actor-critic: the equations in `jax.numpy` and Adam, and nothing of pliant.

It has no replay (all updates learn from one batch of random numbers), no methods, no features, no weights of samples
and no settings but those of `benchmarks/sac.py`, whose sizes are given to it.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

LAYERS, DISCOUNT, TAU, LEARNING_RATE = 3, 0.99, 0.005, 3e-4


class State(NamedTuple):
    actor: Any
    critics: Any  # with a leading axis of two critics
    targets: Any
    log_alpha: jax.Array
    optimizers: tuple[Any, Any, Any]
    key: jax.Array


@dataclasses.dataclass(frozen=True)
class Bare:
    """Makes states, and the state after some updates.

    Args:
        published: leaky rectifiers, actor and targets every second update, an actor that learns from both states, half
            the correction for tanh, and mean entropies in targets.
        observation, action: numbers of each.
        units: of a layer.
        batch: steps in it.
    """

    published: bool
    observation: int
    action: int
    units: int
    batch: int

    def init(self, key: jax.Array) -> State:
        actor_key, critics_key, key = jax.random.split(key, 3)
        actor = self._network(actor_key, self.observation, 2 * self.action)
        critics = jax.vmap(lambda key: self._network(key, self.observation + self.action, 1))(
            jax.random.split(critics_key)
        )
        log_alpha = jnp.zeros(())
        optimizers = _adam.init(actor), _adam.init(critics), _adam.init(log_alpha)
        return State(actor, critics, critics, log_alpha, optimizers, key)

    def updated(self, state: State, updates: int) -> State:
        key, data_key, noise_key = jax.random.split(state.key, 3)
        s_key, a_key, r_key, next_key = jax.random.split(data_key, 4)
        s, next_s = (jax.random.normal(key, (self.batch, self.observation)) for key in (s_key, next_key))
        a = jnp.tanh(jax.random.normal(a_key, (self.batch, self.action)))
        r = jax.random.normal(r_key, (self.batch,))
        states = self.batch * (3 if self.published else 2)  # of targets and of the actor
        noise = jax.random.normal(noise_key, (updates, states, self.action))

        def one(state: State, given: tuple[jax.Array, jax.Array]) -> tuple[State, None]:
            return self._update(state, (s, a, r, next_s), *given), None

        return jax.lax.scan(one, state._replace(key=key), (noise, jnp.arange(updates)))[0]

    def _update(self, now: State, batch: tuple[jax.Array, ...], noise: jax.Array, number: jax.Array) -> State:
        s, a, r, next_s = batch
        alpha = jnp.exp(now.log_alpha)
        next_a, log_p = self._sample(now.actor, next_s, noise[: self.batch])
        entropy = -log_p.mean() if self.published else -log_p
        y = r + DISCOUNT * (self._values(now.targets, next_s, next_a).min(0) + alpha * entropy)
        grads = jax.grad(lambda critics: ((self._values(critics, s, a) - y) ** 2).mean(1).sum())(now.critics)
        critics, critics_optimizer = _descend(grads, now.optimizers[1], now.critics)
        states = jnp.concatenate([s, next_s]) if self.published else s

        def improve() -> tuple[Any, ...]:
            def loss(actor: Any) -> tuple[jax.Array, jax.Array]:
                actions, log_p = self._sample(actor, states, noise[self.batch :])
                return (alpha * log_p - self._values(critics, states, actions).min(0)).mean(), log_p

            grads, log_p = jax.grad(loss, has_aux=True)(now.actor)
            actor, actor_optimizer = _descend(grads, now.optimizers[0], now.actor)
            grad = -(alpha * (log_p - self.action)).mean()
            log_alpha, temperature_optimizer = _descend(grad, now.optimizers[2], now.log_alpha)
            targets = optax.incremental_update(critics, now.targets, TAU)
            return actor, targets, log_alpha, actor_optimizer, temperature_optimizer

        def wait() -> tuple[Any, ...]:
            return now.actor, now.targets, now.log_alpha, now.optimizers[0], now.optimizers[2]

        changed = jax.lax.cond(number % 2 == 0, improve, wait) if self.published else improve()
        actor, targets, log_alpha, actor_optimizer, temperature_optimizer = changed
        optimizers = actor_optimizer, critics_optimizer, temperature_optimizer
        return State(actor, critics, targets, log_alpha, optimizers, now.key)

    def _network(self, key: jax.Array, inputs: int, outputs: int) -> list[tuple[jax.Array, jax.Array]]:
        sizes = (inputs, *[self.units] * LAYERS, outputs)
        draw: Callable[..., jax.Array] = jax.nn.initializers.lecun_uniform()
        keys = jax.random.split(key, LAYERS + 1)
        return [(draw(key, size), jnp.zeros(size[1])) for key, size in zip(keys, itertools.pairwise(sizes))]

    def _apply(self, layers: list[tuple[jax.Array, jax.Array]], x: jax.Array) -> jax.Array:
        for W, b in layers[:-1]:
            x = x @ W + b
            x = jnp.where(x > 0, x, 0.2 * x) if self.published else jax.nn.relu(x)
        W, b = layers[-1]
        return x @ W + b

    def _values(self, critics: Any, s: jax.Array, a: jax.Array) -> jax.Array:
        return jax.vmap(self._apply, (0, None))(critics, jnp.concatenate([s, a], 1))[..., 0]

    def _sample(self, actor: Any, s: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean, log_std = jnp.split(self._apply(actor, s), 2, axis=1)
        log_std = jnp.clip(log_std, -20, 2)
        u = mean + jnp.exp(log_std) * noise
        log_normal = -0.5 * noise**2 - log_std - 0.5 * math.log(2 * math.pi)
        log_slope = 2 * (math.log(2) - u - jax.nn.softplus(-2 * u))
        if self.published:
            log_slope = 0.5 * log_slope + math.log(2)
        return jnp.tanh(u), (log_normal - log_slope).sum(1)


_adam = optax.adam(LEARNING_RATE)


def _descend(grads: Any, optimizer: Any, params: Any) -> tuple[Any, Any]:
    updates, optimizer = _adam.update(grads, optimizer, params)
    return optax.apply_updates(params, updates), optimizer
