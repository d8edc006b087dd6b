"""From scratch: a fresh network for each task."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from pliant.core.base import Edit, Key, Params, Surgery
from pliant.core.clock import Clock, Task
from pliant.core.continual import Continual
from pliant.surgery.resets import Initialize, set_back

from ._copies import stored_copies


def from_scratch(initialize: Initialize, tasks: tuple[Task, ...]) -> Continual:
    """From scratch: each task is learned by a fresh network, and the network of each finished task is stored.

    It neither forgets nor transfers: the reference of the other methods. The optimizer's moments restart if the
    agent resets those of reinitialized weights (`reset_moments`); a step count that the weights share goes on.

    Args:
        initialize: `key -> params`, the network's initial parameters.
        tasks: of the run.

    Differs from the authors' code: nothing for SAC, whose critics go on from task to task in their code, too: only the
    policy is fresh. A network of policy and value function, such as PPO's, is fresh as a whole.

    References:
        Gaya et al., `Building a subspace of policies for scalable continual learning
        <https://arxiv.org/abs/2211.10445>`_, ICLR 2023: SAC-N.

    Example:
        >>> import jax, pliant.continual
        >>> from pliant.core.clock import Task
        >>> def initialize(key):
        ...     return {"w": jax.random.normal(key, (3, 1))}
        >>> method = pliant.continual.from_scratch(initialize, (Task("moon", 1000), Task("normal", 2000)))
    """

    def operate(params: Params, state: Any, *, random: Key, **signals: Any) -> tuple[Edit, Any]:
        del random, signals
        return Edit(params), state

    def begin_task(params: Params, state: Any, *, random: Key, clock: Clock) -> tuple[Edit, Any]:
        edit = set_back(params, initialize(random))
        is_later = jnp.asarray(clock.task) > 0  # the first task begins with a fresh network anyway
        params = jax.tree.map(lambda fresh, old: jnp.where(is_later, fresh, old), edit.params, params)
        return Edit(params, jax.tree.map(lambda fresh: fresh & is_later, edit.fresh)), state

    def no_state(params: Params) -> optax.EmptyState:
        del params
        return optax.EmptyState()

    return stored_copies(len(tasks))._replace(method=Surgery(no_state, operate, begin_task=begin_task))
