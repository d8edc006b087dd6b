"""Multilayer perceptron."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from pliant.core.base import Activation, Array, Initializer, Key
from pliant.surgery.initializers import uniform_bound

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": nn.relu,
    "leaky_relu": nn.leaky_relu,
    "elu": nn.elu,
    "selu": nn.selu,
    "swish": nn.swish,
    "gelu": nn.gelu,
    "tanh": nn.tanh,
    "sigmoid": nn.sigmoid,
    "linear": lambda x: x,
}


class MLP(nn.Module):
    """Dense layers with an activation between them.

    Weights are uniform within the bound of the initializer, for the activation in hidden layers and for a linear one in
    the output layer; biases are zero.

    Attributes:
        hidden: units of each hidden layer; none makes the network linear.
        outputs: units of the output layer.
        activation: the nonlinearity.
        initializer: which bound.
    """

    hidden: tuple[int, ...]
    outputs: int
    activation: Activation = "relu"
    initializer: Initializer = "kaiming"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `(batch, inputs)` to `(batch, outputs)`."""
        for units in self.hidden:
            x = ACTIVATIONS[self.activation](
                nn.Dense(units, kernel_init=_uniform(self.initializer, self.activation))(x)
            )
        return nn.Dense(self.outputs, kernel_init=_uniform(self.initializer, "linear"))(x)


def _uniform(initializer: Initializer, activation: Activation) -> Callable[..., Array]:
    def init(key: Key, shape: tuple[int, int], dtype=jnp.float32) -> Array:
        bound = uniform_bound(initializer, activation, *shape)
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init
