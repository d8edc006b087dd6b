"""Memory aware synapses (MAS): a pull on the parameters to which the outputs of earlier tasks are sensitive."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pliant.core.base import Array, Key, Params
from pliant.core.clock import Clock
from pliant.core.continual import Continual
from pliant.core.settings import AtLeast, require


class MASState(NamedTuple):
    anchor: Params  # the parameters at the end of the newest finished task
    importance: Params  # summed over finished tasks


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
    require("strength", strength, AtLeast(0))
    require("samples", samples, AtLeast(1))

    def squared_norm(params: Params, x: Array) -> Array:
        return sum(jax.tree.leaves(jax.tree.map(lambda h: (h**2).sum(), apply(params, x[None]))), jnp.zeros(()))

    def importance(params: Params, inputs: Array) -> Params:
        """The mean over inputs; one at a time, because all gradients at once would not fit into memory."""

        def add(total: Params, x: Array) -> tuple[Params, None]:
            gradient = jax.grad(squared_norm)(params, x)
            return jax.tree.map(lambda total, g: total + jnp.abs(g), total, gradient), None

        total, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), inputs)
        return jax.tree.map(lambda total: total / len(inputs), total)

    def init(params: Params) -> MASState:
        return MASState(jax.tree.map(jnp.array, params), jax.tree.map(jnp.zeros_like, params))

    def penalty(params: Params, state: MASState, clock: Clock) -> Array:
        del clock

        def of_leaf(theta: Array, anchor: Array, Omega: Array) -> Array:
            return (Omega * (theta - anchor) ** 2).sum()

        return strength * sum(jax.tree.leaves(jax.tree.map(of_leaf, params, state.anchor, state.importance)))

    def end_task(params: Params, state: MASState, *, inputs: Array, clock: Clock, key: Key) -> tuple[Params, Any]:
        del clock, key
        Omega = jax.tree.map(jnp.add, state.importance, importance(params, inputs))
        return params, MASState(params, Omega)

    return Continual(init, penalty=penalty, end_task=end_task, samples=samples)
