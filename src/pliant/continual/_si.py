"""Synaptic intelligence (SI): a pull on the parameters whose movement lowered the loss of earlier tasks."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pliant.core.base import Array, Key, Params
from pliant.core.clock import Clock
from pliant.core.continual import Continual
from pliant.core.settings import AtLeast, require

from ._importance import pull


class SiState(NamedTuple):
    anchor: Params  # the parameters at the end of the newest finished task; at first, the initial ones
    importance: Params  # over all finished tasks
    path: Params  # of this task so far


def si(strength: float = 1.0, damping: float = 0.1) -> Continual:
    r"""Synaptic intelligence: a penalty on the distance to the parameters at the end of the task before.

    With these parameters $\theta^*$ and the gradient $g$ of the loss without the penalty, each update $\Delta\theta$
    adds its share of the loss's decrease to the path integral $\omega$. The end of the task makes an importance of it:

    $$\lambda \sum_i \Omega_i (\theta_i - \theta_i^*)^2, \qquad \omega_i \leftarrow \omega_i - g_i \Delta\theta_i,
    \qquad \Omega_i \leftarrow
    \max\left(0, \Omega_i + \frac{\omega_i}{(\theta_i - \theta_i^*)^2 + \xi}\right).$$

    The importance needs no further pass over inputs of the task. Changes by plasticity methods belong to
    $\Delta\theta$.

    Args:
        strength: $\lambda$, at least 0. Published: 0.1, for permuted MNIST.
        damping: $\xi$, at least 1e-6. Published: 0.1 for permuted MNIST, 0.001 for CIFAR.

    Raises:
        ValueError: for a value outside its range.

    Differs from the authors' code: nothing.

    References:
        Zenke, Poole and Ganguli, `Continual learning through synaptic intelligence
        <https://arxiv.org/abs/1703.04200>`_, ICML 2017.

    Example:
        >>> import pliant.continual
        >>> method = pliant.continual.si(strength=0.1)
    """
    require("damping", damping, AtLeast(1e-6))

    def init(params: Params) -> SiState:
        importance, path = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
        return SiState(jax.tree.map(jnp.array, params), importance, path)

    def track(state: SiState, *, previous: Params, params: Params, grads: Params) -> SiState:
        def of_leaf(omega: Array, Omega: Array, anchor: Array, theta: Array, after: Array, grad: Array) -> Array:
            g = grad - 2 * strength * Omega * (theta - anchor)  # without the gradient of the penalty
            return omega - g * (after - theta)

        path = jax.tree.map(of_leaf, state.path, state.importance, state.anchor, previous, params, grads)
        return state._replace(path=path)

    def end_task(params: Params, state: SiState, *, inputs: Array, clock: Clock, key: Key) -> tuple[Params, Any]:
        del inputs, clock, key

        def of_leaf(Omega: Array, omega: Array, theta: Array, anchor: Array) -> Array:
            return jnp.maximum(0, Omega + omega / ((theta - anchor) ** 2 + damping))

        importance = jax.tree.map(of_leaf, state.importance, state.path, params, state.anchor)
        return params, SiState(params, importance, jax.tree.map(jnp.zeros_like, params))

    return Continual(init, penalty=pull(strength), track=track, end_task=end_task)
