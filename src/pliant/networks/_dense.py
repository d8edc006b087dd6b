"""Dense layers as functions of their parameters, with PyTorch's initial values."""

import itertools
from collections.abc import Callable

import jax

from pliant.core.base import Array, Key, Params
from pliant.core.kept import kept
from pliant.core.problem import Network
from pliant.surgery.initializers import uniform_bound


def dense(params: Params, x: Array) -> Array:
    """Maps `(batch, inputs)` to `(batch, units)`."""
    return x @ params["kernel"] + params["bias"][None]


def dense_layers(key: Key, sizes: tuple[int, ...]) -> dict[str, Params]:
    r"""Parameters of layers `Dense_0`, `Dense_1`, ...: weights and biases uniform within $\pm 1/\sqrt{\text{inputs}}$.

    Args:
        key: consumed.
        sizes: numbers of inputs, of units of each layer in between, and of outputs.
    """
    params, keys = {}, jax.random.split(key, len(sizes) - 1)
    for layer, (inputs, units) in enumerate(itertools.pairwise(sizes)):
        bound = uniform_bound("default", "relu", inputs, units)
        rows = jax.random.uniform(keys[layer], (inputs + 1, units), minval=-bound, maxval=bound)
        params[f"Dense_{layer}"] = {"kernel": rows[:-1], "bias": rows[-1]}
    return params


def in_a_row(params: Params, x: Array, activation: Callable[[Array], Array] = jax.nn.relu) -> Array:
    """The outputs of layers `Dense_0`, `Dense_1`, ... with an activation between them, `(batch, outputs)`.

    Args:
        params: of these layers and no others.
        x: `(batch, inputs)`.
        activation: of the hidden units.
    """
    last = len(params) - 1
    for layer in range(last):
        x = activation(dense(params[f"Dense_{layer}"], x))
    return dense(params[f"Dense_{last}"], x)


@kept
def dense_network(sizes: tuple[int, ...]) -> Network:
    """Dense layers with a ReLU between them, as PyTorch initializes them.

    Args:
        sizes: numbers of inputs, of units of each hidden layer, and of outputs.
    """
    return Network(lambda key: dense_layers(key, sizes), in_a_row, "relu", "default")
