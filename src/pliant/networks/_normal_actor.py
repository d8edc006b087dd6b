"""A policy of normal numbers."""

from typing import Any

import jax.numpy as jnp

from pliant.core.base import Activation, Array, Key, Params
from pliant.core.problem import Network

from ._activations import activation_function
from ._dense import dense_layers, in_a_row


def normal_actor(
    observation: int,
    action: int,
    hidden: tuple[int, ...],
    activation: Activation = "relu",
    negative_slope: float | Array = 0.01,
) -> Network:
    """A multilayer perceptron from observations to the mean and the log standard deviation of each part of an action.

    `actor` has layers `Dense_0`, `Dense_1`, ..., initialized as in PyTorch. Outputs are two arrays `(batch, action)`,
    the mean first. They are neither squashed nor clipped.

    Args:
        observation: size of an observation; the network's input is `(batch, observation)`.
        action: size of an action.
        hidden: units of the hidden layers.
        activation: of the hidden units.
        negative_slope: of the leaky ReLU.

    References:
        Haarnoja et al., `Soft actor-critic algorithms and applications <https://arxiv.org/abs/1812.05905>`_, 2018.
    """
    activate = activation_function(activation, negative_slope)

    def init(key: Key) -> Params:
        return {"actor": dense_layers(key, (observation, *hidden, 2 * action))}

    def apply(params: Params, x: Array) -> Any:
        mean, log_std = jnp.split(in_a_row(params["actor"], x, activate), 2, axis=1)
        return mean, log_std

    return Network(init, apply, activation, "default")
