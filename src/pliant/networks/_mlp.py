"""Multilayer perceptron."""

from collections.abc import Callable

import flax.linen as nn

from pliant.core.base import Activation, Array, Initializer
from pliant.surgery.initializers import kernel_init

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

    Weights are drawn by the initializer, for the activation in hidden layers and for a linear one in the output layer;
    biases are zero.

    Attributes:
        hidden: units of each hidden layer; none makes the network linear.
        outputs: units of the output layer.
        activation: the nonlinearity.
        initializer: the distribution of the weights.
    """

    hidden: tuple[int, ...]
    outputs: int
    activation: Activation = "relu"
    initializer: Initializer = "kaiming"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `(batch, inputs)` to `(batch, outputs)`."""
        for units in self.hidden:
            dense = nn.Dense(units, kernel_init=kernel_init(self.initializer, self.activation))
            x = ACTIVATIONS[self.activation](dense(x))
        return nn.Dense(self.outputs, kernel_init=kernel_init(self.initializer, "linear"))(x)
