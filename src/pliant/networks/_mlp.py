"""Multilayer perceptron."""

import flax.linen as nn

from pliant.core.base import Activation, Array, Initializer
from pliant.surgery.initializers import kernel_init

from ._activations import activation_function


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
        activate = activation_function(self.activation)
        for units in self.hidden:
            x = activate(nn.Dense(units, kernel_init=kernel_init(self.initializer, self.activation))(x))
        return nn.Dense(self.outputs, kernel_init=kernel_init(self.initializer, "linear"))(x)
