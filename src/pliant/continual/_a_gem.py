"""Averaged gradient episodic memory (A-GEM): gradients that oppose those of earlier tasks are projected."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from pliant.core.base import Array, Params
from pliant.core.clock import Clock
from pliant.core.continual import Continual
from pliant.core.likelihood import Likelihood
from pliant.core.units import is_statistic, path_of

from ._reservoir import Reservoir, rehearsal


def a_gem(
    apply: Callable[[Params, Array], Any],
    likelihood: Likelihood,
    inputs: jax.ShapeDtypeStruct,
    capacity: int = 8192,
    batch_size: int = 256,
) -> Continual:
    r"""A-GEM: gradients are projected where they oppose the gradient on stored inputs of earlier tasks.

    A reservoir has inputs of all finished tasks and their outputs at the end of the input's task, as in replay. The
    reference gradient $r$ is that of the mean divergence from these outputs over a batch of the reservoir,

    $$\frac{1}{2} \sum_k w^*_k (v_k - v^*_k)^2,$$

    with the statistics $v$ of the outputs and their weights $w$, see `likelihood`. The gradients $g$ become

    $$g - \min\left(0, \frac{g^\top r}{r^\top r}\right) r.$$

    Args:
        apply: `(params, inputs) -> outputs` of the network.
        likelihood: of the outputs.
        inputs: shape and type of one input.
        capacity: slots of the reservoir, at least `batch_size`.
        batch_size: slots that each update takes for the reference gradient, at least 1. Published: 256.

    Raises:
        ValueError: for a value outside its range.

    Differs from the authors' code: $r$ is there the gradient of the loss of stored examples with their labels. An
    agent's experience has no labels, and the loss of old experience of an on-policy agent is no loss of its policy now.
    Therefore $r$ is the gradient of a distance to stored outputs. At the end of a task the distance of its inputs is
    0, and so $r$ is 0 at the first update of the second task, whose gradients stay as they are. Batches go through the
    slots in turn; theirs are random.

    References:
        Chaudhry et al., `Efficient lifelong learning with A-GEM <https://arxiv.org/abs/1812.00420>`_, ICLR 2019.
        Lopez-Paz and Ranzato, `Gradient episodic memory <https://arxiv.org/abs/1706.08840>`_, NeurIPS 2017.

    Example:
        >>> import jax, numpy as np, pliant.continual
        >>> from pliant.core.likelihood import categorical
        >>> def apply(params, x):
        ...     return x @ params["w"]
        >>> one = jax.ShapeDtypeStruct((3,), np.float32)
        >>> method = pliant.continual.a_gem(apply, categorical, one, capacity=512)
    """
    storing, distance = rehearsal(apply, likelihood, inputs, capacity, batch_size)

    def of_weights(keys: Any, r: Array) -> Array:
        return jnp.zeros_like(r) if is_statistic(path_of(keys)) else r

    def change_gradients(grads: Params, params: Params, state: Reservoir, clock: Clock) -> Params:
        r = jax.tree_util.tree_map_with_path(of_weights, jax.grad(distance)(params, state, clock))
        g_r, r_r = optax.tree.vdot(grads, r), optax.tree.vdot(r, r)
        conflict = (g_r < 0) & (r_r > 0)  # r may be 0, and the square of a small r, too
        share = jnp.where(conflict, g_r, 0) / jnp.where(conflict, r_r, 1)
        return jax.tree.map(lambda g, r: g - share * r, grads, r)

    return storing._replace(change_gradients=change_gradients)
