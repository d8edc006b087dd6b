"""Distributions of fresh weights."""

import math
from collections.abc import Mapping
from typing import get_args

import jax

from pliant.core.base import Activation, Array, Initializer, Key
from pliant.core.settings import require_one_of
from pliant.core.units import Wiring, fans

_TRUNCATED = 0.87962566  # standard deviation of a standard normal distribution cut off at -2 and 2
_GAINS = {
    "linear": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "selu": 3 / 4,
    "leaky_relu": math.sqrt(2 / (1 + 0.01**2)),
}


def gain(activation: Activation) -> float:
    r"""The factor of the weights before an activation that keeps the variance of the signal.

    $\sqrt 2$ for rectifiers (`elu`, `swish` and `gelu` count as such), 5/3 for tanh, 1 for sigmoid and linear, 3/4 for
    selu; leaky ReLU has slope 0.01.

    Raises:
        ValueError: for an unknown activation.

    Example:
        >>> gain("tanh") * 3
        5.0
    """
    require_one_of("activation", activation, get_args(Activation))
    return _GAINS.get(activation, math.sqrt(2))


def uniform_bound(initializer: Initializer, activation: Activation, fan_in: int, fan_out: int) -> float:
    r"""The bound $b$ of the uniform distribution $U(-b, b)$ of fresh weights.

    | initializer | $b$ |
    |---|---|
    | `kaiming` | $g \sqrt{3 / \text{fan\_in}}$, with the activation's gain $g$ |
    | `xavier` | $g \sqrt{6 / (\text{fan\_in} + \text{fan\_out})}$ |
    | `lecun` | $\sqrt{3 / \text{fan\_in}}$; with selu, the bound of every initializer |
    | `default` | $1 / \sqrt{\text{fan\_in}}$, the default of PyTorch's linear and convolutional layers |

    Args:
        initializer: one of the four.
        activation: the nonlinearity behind the weights.
        fan_in: number of inputs of a unit.
        fan_out: number of units that an input reaches.

    Raises:
        ValueError: for an unknown initializer or activation.

    Example:
        >>> uniform_bound("default", "relu", fan_in=16, fan_out=5)
        0.25
    """
    require_one_of("initializer", initializer, get_args(Initializer))
    g = gain(activation)
    if initializer == "lecun" or activation == "selu":
        return math.sqrt(3 / fan_in)
    if initializer == "xavier":
        return g * math.sqrt(6 / (fan_in + fan_out))
    if initializer == "default":
        return 1 / math.sqrt(fan_in)
    return g * math.sqrt(3 / fan_in)


def lecun_normal(key: Key, wiring: Wiring, weights: Mapping[str, Array]) -> dict[str, Array]:
    r"""Fresh weights for whole leaves: normal, deviation $1 / \sqrt{\text{fan\_in}}$, cut off at two deviations.

    Args:
        key: consumed.
        wiring: the groups, with the fan-in of each leaf.
        weights: leaves by path, each of which makes or reads units of a group.

    Returns:
        Leaves of the same paths, shapes and types.
    """
    # A leaf between two groups is an outgoing and an incoming kernel.
    kernels = {slot.path: slot for group in wiring.values() for slot in group.outgoing}
    kernels |= {slot.path: slot for group in wiring.values() for slot in group.incoming}
    drawn = {}
    for (path, w), leaf_key in zip(weights.items(), jax.random.split(key, len(weights))):
        fan_in, _ = fans(w.shape, kernels[path])
        deviation = 1 / math.sqrt(fan_in) / _TRUNCATED
        drawn[path] = (deviation * jax.random.truncated_normal(leaf_key, -2, 2, w.shape)).astype(w.dtype)
    return drawn
