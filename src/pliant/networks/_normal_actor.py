"""A policy of normal numbers."""

from typing import Any

import jax.numpy as jnp

from pliant.core.base import Activation, Array, Key, Params
from pliant.core.continual import DenseLayers
from pliant.core.kept import kept
from pliant.core.problem import Network

from ._activations import activation_function
from ._dense import dense_layers, in_a_row


@kept
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
    layers = normal_actor_layers(observation, action, hidden, activation, negative_slope)

    def init(key: Key) -> Params:
        return {layers.name: layers.initialize(key, layers.sizes)}

    def apply(params: Params, x: Array) -> Any:
        return layers.outputs(in_a_row(params[layers.name], x, layers.activation))

    return Network(init, apply, activation, "default")


def normal_actor_layers(
    observation: int,
    action: int,
    hidden: tuple[int, ...],
    activation: Activation = "relu",
    negative_slope: float | Array = 0.01,
) -> DenseLayers:
    """What `normal_actor` with these arguments is made of."""

    def outputs(numbers: Array) -> Any:
        mean, log_std = jnp.split(numbers, 2, axis=1)
        return mean, log_std

    sizes = observation, *hidden, 2 * action
    return DenseLayers(sizes, activation_function(activation, negative_slope), dense_layers, outputs, "actor")
