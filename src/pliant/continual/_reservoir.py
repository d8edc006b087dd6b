"""A reservoir of inputs of all finished tasks, with the outputs of the network at the end of each input's task."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from pliant.core.base import Array, Key, Params
from pliant.core.clock import Clock
from pliant.core.continual import Continual
from pliant.core.likelihood import Likelihood, divergence
from pliant.core.settings import Whole, require


class Reservoir(NamedTuple):
    inputs: Array  # (capacity, *input): each finished task with about the same share
    statistics: Array  # (capacity, k): of the outputs at the end of the input's task
    weights: Array  # (capacity, k): 0 before the end of the first task


# (params, reservoir, clock) -> ()
Distance: TypeAlias = Callable[[Params, Reservoir, Clock], Array]


def rehearsal(
    apply: Callable[[Params, Array], Any],
    likelihood: Likelihood,
    inputs: jax.ShapeDtypeStruct,
    capacity: int,
    batch_size: int,
) -> tuple[Continual, Distance]:
    """Stores inputs of each task, and measures how far the outputs have moved on them.

    At the end of task $t$, counted from 0, each slot gets an input of the task with probability $1 / (t + 1)$.
    Batches go through the slots in turn.

    Args:
        apply: `(params, inputs) -> outputs` of the network.
        likelihood: of the outputs.
        inputs: shape and type of one input.
        capacity: slots, at least `batch_size`.
        batch_size: slots of a batch, at least 1.

    Returns:
        A method that only stores, and the mean divergence from the stored outputs on the batch of an update; it is 0
        in the first task.

    Raises:
        ValueError: for a value outside its range.
    """
    require("batch_size", batch_size, Whole(1))
    require("capacity", capacity, Whole(batch_size))

    def init(params: Params) -> Reservoir:
        x = jax.ShapeDtypeStruct((capacity, *inputs.shape), inputs.dtype)
        v, w = jax.eval_shape(lambda params, x: likelihood(apply(params, x)), params, x)
        return Reservoir(*(jnp.zeros(like.shape, like.dtype) for like in (x, v, w)))

    def distance(params: Params, state: Reservoir, clock: Clock) -> Array:
        # The remainder first: the product of a late update and the batch size would be beyond int32.
        slots = (jnp.asarray(clock.update) % capacity * batch_size + jnp.arange(batch_size)) % capacity
        x, *then = (of_slots[slots] for of_slots in state)
        v, _ = likelihood(apply(params, x))
        return divergence((then[0], then[1]), v).mean()

    def end_task(params: Params, state: Reservoir, *, inputs: Array, clock: Clock, key: Key) -> tuple[Params, Any]:
        gets = jax.random.uniform(key, (capacity,)) < 1 / (clock.task + 1)

        def fill(old: Array, new: Array) -> Array:
            return jnp.where(gets.reshape(-1, *[1] * (old.ndim - 1)), new, old)

        return params, jax.tree.map(fill, state, Reservoir(inputs, *likelihood(apply(params, inputs))))

    return Continual(init, end_task=end_task, samples=capacity), distance
