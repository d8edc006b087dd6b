"""The nonlinearities by name."""

import functools
from collections.abc import Callable
from typing import TypeAlias, get_args

import flax.linen as nn

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
        return functools.partial(nn.leaky_relu, negative_slope=negative_slope)
    return _FUNCTIONS[name]
