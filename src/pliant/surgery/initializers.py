"""Bounds of the uniform distributions that fresh weights come from."""

import math
from typing import get_args

from pliant.core.base import Activation, Initializer
from pliant.core.settings import require_one_of

_GAINS = {
    "linear": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "selu": 3 / 4,
    "leaky_relu": math.sqrt(2 / (1 + 0.01**2)),
}


def gain(activation: Activation) -> float:
    r"""How much larger the weights before an activation are drawn, so that the signal keeps its variance.

    $\sqrt 2$ for rectifiers (`elu`, `swish` and `gelu` count as such), 5/3 for tanh, 1 for sigmoid and linear, 3/4 for
    selu; leaky ReLU has slope 0.01.

    Raises:
        ValueError: for an unknown activation.
    """
    require_one_of("activation", activation, get_args(Activation))
    return _GAINS.get(activation, math.sqrt(2))


def uniform_bound(initializer: Initializer, activation: Activation, fan_in: int, fan_out: int) -> float:
    r"""The $b$ of the $U(-b, b)$ that fresh weights come from.

    | initializer | $b$ |
    |---|---|
    | `kaiming` | $g \sqrt{3 / \text{fan\_in}}$, with the activation's gain $g$ |
    | `xavier` | $g \sqrt{6 / (\text{fan\_in} + \text{fan\_out})}$ |
    | `lecun` | $\sqrt{3 / \text{fan\_in}}$; always so for selu |
    | `default` | $1 / \sqrt{\text{fan\_in}}$, the default of PyTorch's linear and convolutional layers |

    Args:
        initializer: one of the four.
        activation: what follows the weights.
        fan_in: number of inputs of a unit.
        fan_out: number of units that an input reaches.

    Raises:
        ValueError: for an unknown initializer or activation.
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
