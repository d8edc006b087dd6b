"""Replay: rehearse the network's own outputs on stored inputs of earlier tasks."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pliant.core.base import Array, Key, Params
from pliant.core.clock import Clock
from pliant.core.continual import Continual, Update
from pliant.core.likelihood import Likelihood
from pliant.core.settings import AtLeast, require


class ReplayState(NamedTuple):
    inputs: Array  # (capacity, *input): the reservoir, each finished task with about the same share
    statistics: Array  # (capacity, k): of the outputs at the end of the input's task
    weights: Array  # (capacity, k)
    finished: Array  # () int: finished tasks


def replay(
    apply: Callable[[Params, Array], Any],
    likelihood: Likelihood,
    inputs: jax.ShapeDtypeStruct,
    strength: float = 1.0,
    capacity: int = 8192,
    batch_size: int = 128,
) -> Continual:
    r"""Replay: a reservoir of inputs of all finished tasks, on which the outputs are to stay as they were.

    With the statistics $v$ of the outputs and their weights $w$ (see `likelihood`), and with $v^*, w^*$ at the end of
    the input's task, the penalty is the mean over a batch of the reservoir of

    $$\frac{\lambda}{2} \sum_k w^*_k (v_k - v^*_k)^2,$$

    the second-order form of the Kullback-Leibler divergence from the outputs then to the outputs now. At the end of
    task $t$, counted from 0, each slot of the reservoir gets a random input of the task with probability
    $1 / (t + 1)$. Batches go through the slots in turn.

    Args:
        apply: `(params, inputs) -> outputs` of the network.
        likelihood: of the outputs.
        inputs: shape and type of one input.
        strength: $\lambda$, at least 0.
        capacity: slots of the reservoir, at least `batch_size`.
        batch_size: slots that each update rehearses, at least 1.

    Raises:
        ValueError: for a value outside its range.

    Differs from the authors' code: dark experience replay has the squared distance of logits, and adds single examples
    while it learns; ours adds a sample of the task at its end, and so works for policies, which have no labels. The
    reservoir of Continual World keeps transitions, from which the critics learn.

    References:
        Buzzega et al., `Dark experience for general continual learning <https://arxiv.org/abs/2004.07211>`_,
        NeurIPS 2020. Wolczyk et al., `Disentangling transfer in continual reinforcement learning
        <https://arxiv.org/abs/2209.13900>`_, NeurIPS 2022: the same for the policies of SAC.

    Example:
        >>> import jax, numpy as np, pliant.continual
        >>> from pliant.core.likelihood import categorical
        >>> def apply(params, x):
        ...     return x @ params["w"]
        >>> one = jax.ShapeDtypeStruct((3,), np.float32)
        >>> method = pliant.continual.replay(apply, categorical, one, strength=1.0, capacity=512)
    """
    require("strength", strength, AtLeast(0))
    require("batch_size", batch_size, AtLeast(1))
    require("capacity", capacity, AtLeast(batch_size))

    def init(params: Params) -> ReplayState:
        x = jax.ShapeDtypeStruct((capacity, *inputs.shape), inputs.dtype)
        v, w = jax.eval_shape(lambda params, x: likelihood(apply(params, x)), params, x)
        x, v, w = (jnp.zeros(like.shape, like.dtype) for like in (x, v, w))
        return ReplayState(x, v, w, jnp.zeros((), jnp.int32))

    def penalty(params: Params, state: ReplayState, update: Update) -> Array:
        batches = capacity // batch_size
        first = jnp.asarray(update.clock.update) % batches * batch_size

        def rows(of_slots: Array) -> Array:
            return jax.lax.dynamic_slice_in_dim(of_slots, first, batch_size)

        v, _ = likelihood(apply(params, rows(state.inputs)))
        distances = (rows(state.weights) * (v - rows(state.statistics)) ** 2).sum(1)
        return 0.5 * strength * (state.finished > 0) * distances.mean()

    def end_task(params: Params, state: ReplayState, *, inputs: Array, clock: Clock, key: Key) -> tuple[Params, Any]:
        gets = jax.random.uniform(key, (capacity,)) < 1 / (clock.task + 1)
        v, w = likelihood(apply(params, inputs))

        def fill(old: Array, new: Array) -> Array:
            return jnp.where(gets.reshape(-1, *[1] * (old.ndim - 1)), new, old)

        slots = fill(state.inputs, inputs), fill(state.statistics, v), fill(state.weights, w)
        return params, ReplayState(*slots, state.finished + 1)

    return Continual(init, penalty=penalty, end_task=end_task, samples=capacity)
