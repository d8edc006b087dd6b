"""Weights that PyTorch programs recorded, as the parameters of our networks.

PyTorch's kernels are `(out, in, height, width)` and ours `(height, width, in, out)`; the same holds for moments and
gradients of kernels. Axes before these, such as one of steps, stay.
"""

from collections.abc import Mapping

import numpy as np

STAGES, BLOCKS = 4, 2  # of a ResNet-18


def recorded(data: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The weights whose names begin with a prefix such as `before_`, by the rest of their names.

    `stepped_steps` is not one of the weights `stepped_...`, but the number of the step of each.
    """
    names = [name for name in data if name.startswith(prefix) and name != "stepped_steps"]
    return {name.removeprefix(prefix): data[name] for name in names}


def conv_kernel(w: np.ndarray) -> np.ndarray:
    """`(..., out, in, height, width)` as `(..., height, width, in, out)`."""
    return np.moveaxis(w, (-2, -1, -3, -4), (-4, -3, -2, -1))


def dense_kernel(w: np.ndarray) -> np.ndarray:
    """`(..., out, in)` as `(..., in, out)`."""
    return w.swapaxes(-1, -2)


def flattened_kernel(w: np.ndarray, channels: int) -> np.ndarray:
    """As `dense_kernel`, of a layer behind a flattened image: theirs channel by channel, ours position by position."""
    kernel = dense_kernel(w)
    *steps, inputs, outputs = kernel.shape
    return kernel.reshape(*steps, channels, inputs // channels, outputs).swapaxes(-3, -2).reshape(kernel.shape)


def images(x: np.ndarray) -> np.ndarray:
    """`(..., channels, height, width)` as `(..., height, width, channels)`."""
    return np.moveaxis(x, -3, -1)


def conv_net(weights: Mapping[str, np.ndarray]) -> dict:
    """Variables of `pliant.networks.conv_net` with three convolutions, from `w0, b0, w1, ...`."""
    layers = {}
    for i in range(len(weights) // 2):
        w = weights[f"w{i}"]
        if i < 3:
            kernel = conv_kernel(w)
        else:
            kernel = flattened_kernel(w, weights["b2"].shape[-1]) if i == 3 else dense_kernel(w)
        layers[f"Conv_{i}" if i < 3 else f"Dense_{i - 3}"] = {"kernel": kernel, "bias": weights[f"b{i}"]}
    return {"params": layers}


def resnet_module(name: str) -> tuple[str, ...]:
    """The module of ours for one of PyTorch's: `layer2.0.downsample.1` is `("Block_2", "BatchNorm_2")`."""
    first, *rest = name.split(".")
    if first == "fc":
        return ("Dense_0",)
    if first in ("conv1", "bn1"):
        return ("Conv_0" if first == "conv1" else "BatchNorm_0",)
    block = f"Block_{BLOCKS * (int(first.removeprefix('layer')) - 1) + int(rest[0])}"
    if rest[1] == "downsample":
        return block, "Conv_2" if rest[2] == "0" else "BatchNorm_2"
    return block, f"{'Conv' if rest[1].startswith('conv') else 'BatchNorm'}_{int(rest[1][-1]) - 1}"


def resnet18(weights: Mapping[str, np.ndarray]) -> dict:
    """Variables of `pliant.networks.resnet18` from `layer2.0.conv1.weight`, ...; moments have no statistics."""
    variables: dict = {}
    for name, value in weights.items():
        module, _, leaf = name.rpartition(".")
        path = resnet_module(module)
        collection = "statistics" if leaf.startswith("running_") else "params"
        if leaf == "weight":
            leaf = "scale" if path[-1].startswith("BatchNorm") else "kernel"
            if leaf == "kernel":
                value = dense_kernel(value) if path[-1].startswith("Dense") else conv_kernel(value)
        node = variables.setdefault(collection, {})
        for part in path:
            node = node.setdefault(part, {})
        node[leaf.removeprefix("running_")] = value
    return variables
