"""The residual network of incremental CIFAR-100, a ResNet-18 for small images."""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from pliant.core.base import Array, Key, Params
from pliant.core.kept import kept
from pliant.core.problem import Network
from pliant.surgery.initializers import kernel_init


class BatchNorm(nn.Module):
    r"""Batch normalization as PyTorch's: running averages of the mean and of the unbiased variance.

    In training mode, over the $n$ samples and pixels of each channel of a batch,

    $$y = \gamma\, \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta, \qquad
    m \leftarrow (1 - \alpha)\, m + \alpha \mu, \qquad
    v \leftarrow (1 - \alpha)\, v + \alpha \frac{n}{n - 1} \sigma^2;$$

    in evaluation mode $m$ and $v$ take the places of $\mu$ and $\sigma^2$. All of it is computed in float32.

    Attributes:
        momentum: $\alpha$, the weight of the batch.
        epsilon: $\epsilon$, added to the variance for numerical stability.
    """

    momentum: float = 0.1
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Maps `(batch, height, width, channels)` to the same shape and type."""
        (*samples, channels), dtype = x.shape, x.dtype
        gamma = self.param("scale", nn.initializers.ones, (channels,))
        beta = self.param("bias", nn.initializers.zeros, (channels,))
        m = self.variable("statistics", "mean", jnp.zeros, (channels,))
        v = self.variable("statistics", "var", jnp.ones, (channels,))
        x, per_channel = x.astype(jnp.float32), (1,) * len(samples) + (channels,)
        mu, sigma2 = m.value, v.value
        if train:
            n, axes = math.prod(samples), tuple(range(len(samples)))
            if n < 2:
                raise ValueError("batch normalization in training mode got one value for each channel; use a batch")
            mu = x.mean(axes)
            sigma2 = ((x - mu.reshape(per_channel)) ** 2).mean(axes)
            m.value = (1 - self.momentum) * m.value + self.momentum * mu
            v.value = (1 - self.momentum) * v.value + self.momentum * n / (n - 1) * sigma2
        scale = gamma / jnp.sqrt(sigma2 + self.epsilon)
        y = (x - mu.reshape(per_channel)) * scale.reshape(per_channel) + beta.reshape(per_channel)
        return y.astype(dtype)


class Block(nn.Module):
    """A basic residual block: two convolutions of 3x3, around them the identity, or a convolution of 1x1.

    Attributes:
        channels: of both convolutions.
        stride: of the first.
        dtype: in which convolutions are computed.
    """

    channels: int
    stride: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Maps `(batch, height, width, inputs)` to `(batch, height / stride, width / stride, channels)`."""
        y = nn.relu(BatchNorm()(_conv(self.channels, 3, self.stride, self.dtype)(x), train))
        y = BatchNorm()(_conv(self.channels, 3, 1, self.dtype)(y), train)
        if self.stride != 1 or x.shape[-1] != self.channels:
            x = BatchNorm()(_conv(self.channels, 1, self.stride, self.dtype)(x), train)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """Residual blocks behind one convolution of 3x3, a mean over the image, and a linear layer.

    Each stage but the first halves the image. Kernels are normal: of convolutions with variance 2 / fan-in, of the
    linear layer with 1 / fan-in; biases are 0.

    Attributes:
        outputs: of the linear layer.
        blocks: number of blocks of each stage.
        widths: channels of each stage.
        dtype: in which convolutions are computed; parameters, norms and outputs are float32.
    """

    outputs: int = 100
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Maps `(batch, height, width, channels)` to `(batch, outputs)`."""
        x = nn.relu(BatchNorm()(_conv(self.widths[0], 3, 1, self.dtype)(x), train))
        for stage, (blocks, channels) in enumerate(zip(self.blocks, self.widths, strict=True)):
            for block in range(blocks):
                x = Block(channels, 2 if stage > 0 and block == 0 else 1, self.dtype)(x, train)
        x = x.mean((1, 2), dtype=jnp.float32)
        return nn.Dense(self.outputs, kernel_init=kernel_init("kaiming_normal", "linear"))(x)


@kept
def resnet18(
    image: tuple[int, int, int],
    outputs: int = 100,
    widths: tuple[int, ...] = (64, 128, 256, 512),
    dtype: Any = jnp.float32,
) -> Network:
    """The ResNet-18 of incremental CIFAR-100.

    Its convolutions have biases, the first is of 3x3 with stride 1, and there is no max-pooling. It has 11,224,932
    parameters, 9,600 running statistics, and two modes: see `Network.train`.

    Args:
        image: `(height, width, channels)` of an input.
        outputs: of the linear layer.
        widths: channels of the four stages.
        dtype: in which convolutions are computed, float32 or bfloat16.

    Returns:
        The network, whose fresh weights are drawn by the initializer `kaiming_normal`. Its variables are
        `{"params": ..., "statistics": ...}`.

    Raises:
        ValueError: for another number of widths than four.

    Differs from the authors' code: images have their channels last. In bfloat16 convolutions are rounded; the authors'
    code computes in float32.

    References:
        He et al., `Deep residual learning for image recognition <https://arxiv.org/abs/1512.03385>`_, CVPR 2016.
        Dohare et al., `Loss of plasticity in deep continual learning <https://doi.org/10.1038/s41586-024-07711-7>`_,
        Nature 2024.

    Example:
        >>> import jax, pliant.networks
        >>> network = pliant.networks.resnet18((32, 32, 3))
        >>> variables = jax.eval_shape(network.init, jax.random.key(0))
        >>> variables["params"]["Dense_0"]["kernel"].shape
        (512, 100)
    """
    if len(widths) != 4:
        raise ValueError(f"widths={widths}: a ResNet-18 has four stages; write four widths")
    module = ResNet(outputs, (2, 2, 2, 2), widths, dtype)

    def init(key: Key) -> Params:
        return module.init(key, jnp.zeros((1, *image)), train=False)

    def train(variables: Params, x: Array) -> tuple[Array, Params]:
        prediction, moved = module.apply(variables, x, train=True, mutable="statistics")
        return prediction, {**variables, **moved}

    return Network(
        init,
        lambda variables, x: module.apply(variables, x, train=False),
        initializer="kaiming_normal",
        train=train,
    )


def _conv(channels: int, side: int, stride: int, dtype: Any) -> nn.Conv:
    """Padded evenly: the automatic padding of a stride of 2 is one-sided."""
    init = kernel_init("kaiming_normal", "relu")
    return nn.Conv(channels, (side, side), stride, padding=side // 2, dtype=dtype, kernel_init=init)
