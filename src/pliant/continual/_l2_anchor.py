"""L2 anchor: a pull towards the parameters at the end of the task before."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pliant.core.base import Array, Key, Params
from pliant.core.clock import Clock
from pliant.core.continual import Continual, Update
from pliant.core.settings import AtLeast, require


class L2AnchorState(NamedTuple):
    anchor: Params  # the parameters at the end of the newest finished task
    finished: Array  # () int: finished tasks


def l2_anchor(strength: float = 1.0) -> Continual:
    r"""L2 anchor: a penalty on the distance to the parameters at the end of the task before.

    With these parameters $\theta^*$ the penalty is, from the second task on,

    $$\lambda \sum_i (\theta_i - \theta_i^*)^2.$$

    Args:
        strength: $\lambda$, at least 0. Published: 0.01 to 10000, see the scenarios.

    Raises:
        ValueError: for a negative strength.

    Differs from the authors' code: nothing.

    References:
        Kirkpatrick et al., `Overcoming catastrophic forgetting in neural networks <https://arxiv.org/abs/1612.00796>`_,
        PNAS 2017 (as their rival); FT-L2 of Gaya et al., `Building a subspace of policies for scalable continual
        learning <https://arxiv.org/abs/2211.10445>`_, ICLR 2023.

    Example:
        >>> import pliant.continual
        >>> method = pliant.continual.l2_anchor(strength=100.0)
    """
    require("strength", strength, AtLeast(0))

    def init(params: Params) -> L2AnchorState:
        return L2AnchorState(jax.tree.map(jnp.array, params), jnp.zeros((), jnp.int32))

    def penalty(params: Params, state: L2AnchorState, update: Update) -> Array:
        del update
        distances = jax.tree.map(lambda theta, anchor: ((theta - anchor) ** 2).sum(), params, state.anchor)
        return strength * (state.finished > 0) * sum(jax.tree.leaves(distances))

    def end_task(params: Params, state: L2AnchorState, *, inputs: Array, clock: Clock, key: Key) -> tuple[Params, Any]:
        del inputs, clock, key
        return params, L2AnchorState(params, state.finished + 1)

    return Continual(init, penalty=penalty, end_task=end_task)
