"""The nonlinearities by name."""

import functools
from collections.abc import Callable
from typing import TypeAlias, get_args

import flax.linen as nn
import jax.numpy as jnp

from pliant.core.base import Activation, Array
from pliant.core.settings import require_one_of

Function: TypeAlias = Callable[[Array], Array]

_FUNCTIONS: dict[str, Function] = {
    "relu": nn.relu,
    "elu": nn.elu,
    "selu": nn.selu,
    "swish": nn.swish,
    "gelu": nn.gelu,
    "tanh": nn.tanh,
    "sigmoid": nn.sigmoid,
    "linear": lambda x: x,
}


def activation_function(name: Activation, negative_slope: float | Array = 0.01) -> Function:
    """The function of an activation, elementwise.

    Args:
        name: of the activation.
        negative_slope: of the leaky ReLU, for negative numbers; other activations have none.

    Raises:
        ValueError: for an unknown activation.

    Example:
        >>> float(activation_function("leaky_relu", negative_slope=0.25)(-2.0))
        -0.5
    """
    require_one_of("activation", name, get_args(Activation))
    if name == "leaky_relu":
        return functools.partial(_leaky_relu, negative_slope)
    return _FUNCTIONS[name]


def _leaky_relu(negative_slope: float | Array, x: Array) -> Array:
    """At 0, where units are that drop out, its derivative is the slope as in PyTorch; that of JAX's own is 1."""
    return jnp.where(x > 0, x, negative_slope * x)
