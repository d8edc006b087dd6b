"""Networks with a wiring written by hand, so that tests of the methods need no tracing."""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core.units import Group, Incoming, Outgoing, Vector, Wiring
from pliant.surgery.initializers import uniform_bound


def mlp(*sizes: int, activation: Callable = jax.nn.relu, bias: bool = True) -> Wiring:
    """Layers `w0, b0, w1, ...` of shape (in, out); group and feature `w0` are the units that `w0` produces."""
    last = len(sizes) - 2
    groups = {}
    for i in range(last):
        groups[f"w{i}"] = Group(
            f"w{i}",
            sizes[i + 1],
            (Incoming(f"w{i}", 1),),
            (Vector(f"b{i}", 0),) if bias else (),
            (Outgoing(f"w{i + 1}", 0, feature=f"w{i}", bias=f"b{i + 1}" if bias else None),),
        )

    def function(params, x):
        features = {}
        for i in range(last + 1):
            x = x @ params[f"w{i}"]
            x = x + jnp.expand_dims(params[f"b{i}"], range(x.ndim - 1)) if bias else x
            if i < last:
                features[f"w{i}"] = x = activation(x)
        return x, features

    return Wiring(groups, function)


def initializer(*sizes: int, bias: bool = True, dtype=jnp.float32) -> Callable:
    """`key -> params` for `mlp` of these sizes; biases are 0.1, so that one set back is seen."""

    def initialize(key):
        params = {}
        for i, k in enumerate(jax.random.split(key, len(sizes) - 1)):
            bound = uniform_bound("kaiming", "relu", sizes[i], sizes[i + 1])
            params[f"w{i}"] = jax.random.uniform(k, (sizes[i], sizes[i + 1]), dtype, -bound, bound)
            if bias:
                params[f"b{i}"] = jnp.full(sizes[i + 1], 0.1, dtype)
        return params

    return initialize


def params(*sizes: int, bias: bool = True, seed: int = 0) -> dict[str, np.ndarray]:
    """Parameters for `mlp` of these sizes as the initializer makes them, from NumPy's random numbers."""
    generator, made = np.random.default_rng(seed), {}
    for i, (inputs, units) in enumerate(itertools.pairwise(sizes)):
        bound = uniform_bound("kaiming", "relu", inputs, units)
        made[f"w{i}"] = generator.uniform(-bound, bound, (inputs, units)).astype(np.float32)
        if bias:
            made[f"b{i}"] = np.full(units, 0.1, np.float32)
    return made


def normed_convnet() -> tuple[Wiring, Callable]:
    """Convolution 1x1 of 2 to 3 channels without bias, a norm's scale and shift, flatten of 2x2 images, dense 12 to 2.

    Returns:
        The wiring, with its function of `(params, x)` for x `(batch, 2, 2, 2)`, and `key -> params`.
    """
    indices = np.arange(12).reshape(4, 3)  # the image is flattened with the channels last: row 3 * position + channel
    wiring = Wiring(
        {
            "conv": Group(
                "conv",
                3,
                (Incoming("conv/kernel", 3, fan_in=2, fan_out=3),),
                (Vector("norm/scale", 0, neutral=1.0), Vector("norm/shift", 0)),
                (Outgoing("out/kernel", 0, indices, feature="conv", bias="out/bias"),),
            )
        },
        lambda params, x: _convnet(params, x),
    )

    def initialize(key):
        conv_key, out_key = jax.random.split(key)
        return {
            "conv": {"kernel": jax.random.uniform(conv_key, (1, 1, 2, 3), minval=-1.0)},
            "norm": {"scale": jnp.full(3, 2.0), "shift": jnp.full(3, 0.5)},
            "out": {"kernel": jax.random.uniform(out_key, (12, 2), minval=-1.0), "bias": jnp.zeros(2)},
        }

    return wiring, initialize


def convnet_params(seed: int = 0) -> dict:
    """Parameters for `normed_convnet` as its initializer makes them, from NumPy's random numbers."""
    generator = np.random.default_rng(seed)
    return {
        "conv": {"kernel": generator.uniform(-1, 1, (1, 1, 2, 3)).astype(np.float32)},
        "norm": {"scale": np.full(3, 2.0, np.float32), "shift": np.full(3, 0.5, np.float32)},
        "out": {"kernel": generator.uniform(-1, 1, (12, 2)).astype(np.float32), "bias": np.zeros(2, np.float32)},
    }


def _convnet(params, x):
    def per_channel(v):
        return jnp.expand_dims(v, (0, 1, 2))

    h = jnp.einsum("bhwc,cd->bhwd", x, params["conv"]["kernel"][0, 0])
    h = jax.nn.relu(h * per_channel(params["norm"]["scale"]) + per_channel(params["norm"]["shift"]))
    flat = h.reshape(h.shape[0], -1)
    y = flat @ params["out"]["kernel"] + jnp.expand_dims(params["out"]["bias"], 0)
    return y, {"conv": h.reshape(h.shape[0], 4, 3)}
