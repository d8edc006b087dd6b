"""Distributions of fresh weights."""

import math
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Float

from pliant.core.base import Activation, Array, Initializer, Key
from pliant.core.settings import require_one_of
from pliant.core.units import Wiring, fans

Uniform: TypeAlias = Literal["kaiming", "xavier", "lecun", "default"]  # the initializers with a bound

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


def uniform_bound(initializer: Uniform, activation: Activation, fan_in: int, fan_out: int) -> float:
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
    require_one_of("initializer", initializer, get_args(Uniform))
    g = gain(activation)
    if initializer == "lecun" or activation == "selu":
        return math.sqrt(3 / fan_in)
    if initializer == "xavier":
        return g * math.sqrt(6 / (fan_in + fan_out))
    if initializer == "default":
        return 1 / math.sqrt(fan_in)
    return g * math.sqrt(3 / fan_in)


def normal_deviation(activation: Activation, fan_in: int) -> float:
    r"""The standard deviation of the weights of `kaiming_normal`: $g / \sqrt{\text{fan\_in}}$, the one of `kaiming`.

    Args:
        activation: the nonlinearity behind the weights, with the gain $g$; 1 for selu.
        fan_in: number of inputs of a unit.

    Example:
        >>> normal_deviation("linear", fan_in=16)
        0.25
    """
    return uniform_bound("kaiming", activation, fan_in, 1) / math.sqrt(3)


def from_uniform(
    u: Float[Array, "..."], initializer: Initializer, activation: Activation, fan_in: int, fan_out: int
) -> Float[Array, "..."]:
    r"""Fresh weights of an initializer, made of numbers $u$ that are uniform in (-1, 1).

    Uniform weights are $b u$, with the bound $b$ of `uniform_bound`. Weights of `kaiming_normal` are
    $s \sqrt 2 \, \text{erf}^{-1}(u)$, with the deviation $s$ of `normal_deviation`: normal numbers, by the inverse of
    their distribution function.

    Args:
        u: numbers in (-1, 1).
        initializer: one of the five.
        activation: the nonlinearity behind the weights.
        fan_in: number of inputs of a unit.
        fan_out: number of units that an input reaches.

    Raises:
        ValueError: for an unknown initializer or activation.
    """
    require_one_of("initializer", initializer, get_args(Initializer))
    if initializer == "kaiming_normal":
        return normal_deviation(activation, fan_in) * math.sqrt(2) * jax.lax.erf_inv(u)
    return u * uniform_bound(initializer, activation, fan_in, fan_out)


def kernel_init(initializer: Initializer, activation: Activation) -> Callable[..., Array]:
    """The initializer as flax wants it, `(key, shape, dtype) -> kernel`, with the units of a kernel on its last axis.

    Args:
        initializer: one of the five.
        activation: the nonlinearity behind the weights.
    """

    def init(key: Key, shape: tuple[int, ...], dtype: jax.typing.DTypeLike = jnp.float32) -> Array:
        *space, inputs, units = shape
        fan_in, fan_out = inputs * math.prod(space), units * math.prod(space)
        if initializer == "kaiming_normal":
            return normal_deviation(activation, fan_in) * jax.random.normal(key, shape, dtype)
        bound = uniform_bound(initializer, activation, fan_in, fan_out)
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


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
