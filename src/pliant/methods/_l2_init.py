"""L2 Init, or regenerative regularization: decay every weight towards its initial value."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from pliant.core.base import Params
from pliant.core.settings import AtLeast, require


class L2InitState(NamedTuple):
    initial: Params  # like params: the parameters as they were before the first step


def l2_init(strength: float = 1e-3) -> optax.GradientTransformation:
    r"""L2 Init, regenerative regularization: decays every parameter towards its initial value $w^0$.

    The gradient of $\lambda \lVert w - w^0 \rVert^2$, factor of two included, is added before the optimizer:

    $$g \leftarrow g + 2 \lambda (w - w^0).$$

    Args:
        strength: $\lambda$, at least 0; half of the weight decay of `l2`. Published: 1e-2 to 1e-5, by problem.

    Raises:
        ValueError: for a value outside its range.

    Differs from the authors' code: nothing. Where another method reinitializes a weight, $w^0$ stays the value at the
    start of training.

    References:
        Kumar, Marklund and Van Roy, `Maintaining plasticity in continual learning via regenerative regularization
        <https://arxiv.org/abs/2308.11958>`_, 2023.

    Example:
        >>> import optax, pliant
        >>> tx = pliant.plastic(optax.adam(1e-3), pliant.l2_init(strength=1e-3))
    """
    require("strength", strength, AtLeast(0))

    def init(params: Params) -> L2InitState:
        # A copy: a training step may donate the buffers of the parameters, and cannot donate one twice.
        return L2InitState(initial=jax.tree.map(jnp.array, params))

    def update(grads, state: L2InitState, params: Params):
        pulled = jax.tree.map(
            lambda g, w, w0: g + (2 * strength * (w - w0)).astype(g.dtype), grads, params, state.initial
        )
        return pulled, state

    return optax.GradientTransformation(init, update)
