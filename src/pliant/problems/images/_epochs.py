"""Epochs: each example of a task is seen once an epoch, in an order that the epoch draws."""

import jax
import jax.numpy as jnp

from pliant.core.base import Array, Key
from pliant.core.clock import Clock


def shuffled(key: Key, examples: int, clock: Clock) -> Array:
    """The order of the examples in the epoch of a clock, `(examples,)`: which example comes when.

    Args:
        key: of the orders of all epochs, and of nothing else.
        examples: number of examples.
        clock: of the epoch's beginning.
    """
    return jax.random.permutation(jax.random.fold_in(jax.random.fold_in(key, clock.task), clock.epoch), examples)


def examples_at(order: Array, position: Array, steps: int, batch_size: int) -> Array:
    """The examples of the next batches, `(steps, batch_size)`; beyond the end the order begins again.

    Args:
        order: `(examples,)`, which example comes when.
        position: `()` examples before these batches, from the order's beginning.
        steps: number of batches.
        batch_size: examples of each.
    """
    which = (position + jnp.arange(steps * batch_size)) % len(order)
    return order[which].reshape(steps, batch_size)
