"""Critics side by side: agents use the smallest of their values."""

import jax
import jax.numpy as jnp

from pliant.core.base import Activation, Array, Key, Params
from pliant.core.kept import kept
from pliant.core.problem import Network

from ._activations import activation_function
from ._dense import dense, dense_layers

_EPSILON = 1e-5  # PyTorch's, of the variance


@kept
def critic_ensemble(
    inputs: int,
    hidden: tuple[int, ...],
    critics: int = 2,
    layer_norm: bool = False,
    activation: Activation = "relu",
    negative_slope: float | Array = 0.01,
) -> Network:
    """Separate multilayer perceptrons, which map `(batch, inputs)` to `(batch, critics)`.

    `critic_0`, `critic_1`, ... have layers `Dense_0`, `Dense_1`, ... and `LayerNorm`, initialized as in PyTorch.

    Args:
        inputs: size of an observation plus size of an action.
        hidden: units of the hidden layers.
        critics: number of perceptrons, at least 1.
        layer_norm: whether the last hidden layer is normalized before its activation.
        activation: of the hidden units.
        negative_slope: of the leaky ReLU.

    References:
        Fujimoto et al., `Addressing function approximation error in actor-critic methods
        <https://arxiv.org/abs/1802.09477>`_, ICML 2018: two critics. An et al., `Uncertainty-based offline
        reinforcement learning with diversified Q-ensemble <https://arxiv.org/abs/2110.01548>`_, NeurIPS 2021: more of
        them. Liu et al., `Neuroplastic expansion in deep reinforcement learning <https://arxiv.org/abs/2410.07994>`_,
        ICLR 2025: a normalized layer.
    """
    names, activate = [f"critic_{i}" for i in range(critics)], activation_function(activation, negative_slope)

    def init(key: Key) -> Params:
        return {name: one(key) for name, key in zip(names, jax.random.split(key, critics))}

    def one(key: Key) -> Params:
        params = dense_layers(key, (inputs, *hidden, 1))
        if layer_norm:
            params["LayerNorm"] = {"scale": jnp.ones(hidden[-1]), "bias": jnp.zeros(hidden[-1])}
        return params

    def value(params: Params, x: Array) -> Array:
        for layer in range(len(hidden)):
            x = dense(params[f"Dense_{layer}"], x)
            if layer_norm and layer == len(hidden) - 1:
                x = _normalized(params["LayerNorm"], x)
            x = activate(x)
        return dense(params[f"Dense_{len(hidden)}"], x)

    def apply(params: Params, x: Array) -> Array:
        return jnp.concatenate([value(params[name], x) for name in names], axis=1)

    return Network(init, apply, activation, "default")


def _normalized(params: Params, x: Array) -> Array:
    centred = x - x.mean(axis=1, keepdims=True)
    variance = (centred**2).mean(axis=1, keepdims=True)
    return centred * jax.lax.rsqrt(variance + _EPSILON) * params["scale"][None] + params["bias"][None]
