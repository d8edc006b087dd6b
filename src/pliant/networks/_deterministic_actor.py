"""A deterministic policy."""

import jax.numpy as jnp

from pliant.core.base import Array, Key, Params
from pliant.core.kept import kept
from pliant.core.problem import Network

from ._dense import dense_layers, in_a_row


@kept
def deterministic_actor(observation: int, action: int, hidden: tuple[int, ...], bound: float = 1.0) -> Network:
    r"""A multilayer perceptron with rectifiers, whose outputs $b \tanh(\cdot)$ are actions.

    `actor` has layers `Dense_0`, `Dense_1`, ..., initialized as in PyTorch.

    Args:
        observation: size of an observation; the network's input is `(batch, observation)`.
        action: size of an action.
        hidden: units of the hidden layers.
        bound: $b$, the largest magnitude of each part of an action.

    References:
        Fujimoto et al., `Addressing function approximation error in actor-critic methods
        <https://arxiv.org/abs/1802.09477>`_, ICML 2018.
    """

    def init(key: Key) -> Params:
        return {"actor": dense_layers(key, (observation, *hidden, action))}

    def apply(params: Params, x: Array) -> Array:
        return bound * jnp.tanh(in_a_row(params["actor"], x))

    return Network(init, apply, initializer="default")
