"""Memory aware synapses (MAS): a pull on the parameters to which the outputs of earlier tasks are sensitive."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from pliant.core.base import Array, Params
from pliant.core.continual import Continual

from ._importance import anchored_by_importance


def mas(apply: Callable[[Params, Array], Any], strength: float = 1.0, samples: int = 1024) -> Continual:
    r"""Memory aware synapses: a penalty on the distance to the parameters at the end of the task before.

    With these parameters $\theta^*$ and the outputs $h(x)$ of the network, of all kinds together, the penalty is

    $$\lambda \sum_i \Omega_i (\theta_i - \theta_i^*)^2, \qquad
    \Omega_i \leftarrow \Omega_i + \overline{\left| \frac{\partial \lVert h(x) \rVert^2}{\partial \theta_i} \right|}.$$

    The importance $\Omega$ needs no labels and no likelihood, which EWC's Fisher information needs.

    Args:
        apply: `(params, inputs) -> outputs` of the network.
        strength: $\lambda$, at least 0.
        samples: inputs of each task that $\Omega$ is measured on, at least 1.

    Raises:
        ValueError: for a value outside its range.

    Differs from the authors' code: the absolute value is taken of the gradient for each input, as in the paper, and not
    of the gradient for a batch.

    References:
        Aljundi et al., `Memory aware synapses <https://arxiv.org/abs/1711.09601>`_, ECCV 2018. For SAC: Wolczyk et al.,
        `Continual World <https://arxiv.org/abs/2105.10919>`_, NeurIPS 2021.

    Example:
        >>> import pliant.continual
        >>> def apply(params, x):
        ...     return x @ params["w"]
        >>> method = pliant.continual.mas(apply, strength=100.0)
    """

    def squared_norm(params: Params, x: Array) -> Array:
        return sum(jax.tree.leaves(jax.tree.map(lambda h: (h**2).sum(), apply(params, x[None]))), jnp.zeros(()))

    def sensitivity(params: Params, x: Array) -> Params:
        """That of the outputs for one input."""
        return jax.tree.map(jnp.abs, jax.grad(squared_norm)(params, x))

    return anchored_by_importance(sensitivity, strength, samples)
