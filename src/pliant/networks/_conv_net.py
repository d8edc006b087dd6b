"""The convolutional network of continual ImageNet."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from pliant.core.base import Array, Key
from pliant.core.kept import kept
from pliant.core.problem import Network
from pliant.surgery.initializers import kernel_init, uniform_bound


class ConvNet(nn.Module):
    r"""Convolutions with max-pooling, then dense layers; ReLU between all of them.

    Convolutions are unpadded, and pooling is over 2x2 pixels. Weights and biases are uniform within
    $\pm 1 / \sqrt{\text{fan\_in}}$, PyTorch's default.

    Attributes:
        outputs: of the last layer.
        channels: of each convolution.
        kernels: side of each convolution's kernel.
        units: of each hidden dense layer.
    """

    outputs: int
    channels: tuple[int, ...] = (32, 64, 128)
    kernels: tuple[int, ...] = (5, 3, 3)
    units: tuple[int, ...] = (128, 128)

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `(batch, height, width, channels)` to `(batch, outputs)`."""
        for channels, side in zip(self.channels, self.kernels, strict=True):
            convolution = nn.Conv(
                channels, (side, side), padding="VALID",
                kernel_init=kernel_init("default", "relu"), bias_init=_bias_init(side * side * x.shape[-1]),
            )  # fmt: skip
            x = nn.max_pool(nn.relu(convolution(x)), (2, 2), strides=(2, 2))
        # Position by position, each with its channels; PyTorch flattens channel by channel. Only the order differs.
        x = x.reshape(x.shape[0], -1)
        for units in self.units:
            x = nn.relu(_dense(units, x.shape[-1])(x))
        return _dense(self.outputs, x.shape[-1])(x)


@kept
def conv_net(
    image: tuple[int, int, int],
    outputs: int = 2,
    channels: tuple[int, ...] = (32, 64, 128),
    kernels: tuple[int, ...] = (5, 3, 3),
    units: tuple[int, ...] = (128, 128),
) -> Network:
    """The network of continual ImageNet: three convolutions and three dense layers.

    With images of 32x32 pixels and two outputs it has 177,218 parameters.

    Args:
        image: `(height, width, channels)` of an input.
        outputs: of the last layer.
        channels: of each convolution.
        kernels: side of each convolution's kernel.
        units: of each hidden dense layer.

    Returns:
        The network, whose fresh weights are drawn by the initializer `default`.

    Raises:
        ValueError: if the numbers of channels and kernels differ, or the image is too small.

    Differs from the authors' code: images have their channels last, so the flattened units have another order.

    References:
        Dohare et al., `Loss of plasticity in deep continual learning <https://doi.org/10.1038/s41586-024-07711-7>`_,
        Nature 2024.

    Example:
        >>> import jax, pliant.networks
        >>> network = pliant.networks.conv_net((32, 32, 3))
        >>> jax.eval_shape(network.init, jax.random.key(0))["params"]["Dense_0"]["kernel"].shape
        (512, 128)
    """
    if len(channels) != len(kernels):
        raise ValueError(f"channels={channels} and kernels={kernels}: write one of each for every convolution")
    side = min(image[:2])
    for kernel in kernels:
        side = (side - kernel + 1) // 2
    if side < 1:
        raise ValueError(f"image={image} leaves no pixel behind {len(kernels)} convolutions; write a larger image")
    module = ConvNet(outputs, channels, kernels, units)
    return Network(lambda key: module.init(key, jnp.zeros((1, *image))), module.apply, initializer="default")


def _dense(units: int, inputs: int) -> nn.Dense:
    return nn.Dense(units, kernel_init=kernel_init("default", "relu"), bias_init=_bias_init(inputs))


def _bias_init(fan_in: int) -> Callable[..., Array]:
    bound = uniform_bound("default", "relu", fan_in, 1)

    def init(key: Key, shape: tuple[int, ...], dtype: jax.typing.DTypeLike = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init
