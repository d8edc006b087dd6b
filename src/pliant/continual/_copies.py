"""A stored copy of the network for each finished task."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pliant.core.base import Array, Key, Params
from pliant.core.clock import Clock
from pliant.core.continual import Continual, Memory, size_of


class CopiesState(NamedTuple):
    stored: Params  # (tasks, ...) each: the network at the end of each task
    finished: Array  # () int: finished tasks


def stored_copies(tasks: int) -> Continual:
    """Stores the network at the end of each task; each copy acts on its task, the network itself on later tasks.

    Args:
        tasks: of the run; room for all of them is made at the start.
    """

    def init(params: Params) -> CopiesState:
        stored = jax.tree.map(lambda x: jnp.zeros((tasks, *x.shape), x.dtype), params)
        return CopiesState(stored, jnp.zeros((), jnp.int32))

    def end_task(params: Params, state: CopiesState, *, inputs: Array, clock: Clock, key: Key) -> tuple[Params, Any]:
        del inputs, key
        stored = jax.tree.map(lambda all, one: all.at[clock.task].set(one), state.stored, params)
        return params, CopiesState(stored, jnp.asarray(clock.task + 1, jnp.int32))

    def view(params: Params, state: CopiesState, task: Array | int) -> Params:
        has_copy = task < state.finished
        return jax.tree.map(lambda all, one: jnp.where(has_copy, all[task], one), state.stored, params)

    def memory(params: Params, state: CopiesState, tasks: Array | int) -> Memory:
        del state
        stored = jnp.maximum(tasks, 1) * size_of(params)
        return Memory(stored, stored)

    return Continual(init, end_task=end_task, view=view, per_task=True, memory=memory)
