"""Recurrent layers as functions of their parameters, with PyTorch's equations and initial values.

A layer has two kernels, one of its input and one of its own output, and a bias for each. Columns are ordered gate by
gate, with one column per unit in each gate; so `trace` finds that a unit owns one column in each gate.
"""

import jax
import jax.numpy as jnp

from pliant.core.base import Array, Key, Params
from pliant.surgery.initializers import uniform_bound


def recurrent_params(key: Key, gates: int, inputs: int, units: int) -> Params:
    r"""Kernels and biases, all uniform within $\pm 1 / \sqrt{\text{units}}$."""
    bound = uniform_bound("default", "tanh", units, units)
    rows = jax.random.uniform(key, (inputs + units + 2, gates * units), minval=-bound, maxval=bound)
    return {
        "input_kernel": rows[:inputs],
        "recurrent_kernel": rows[inputs:-2],
        "input_bias": rows[-2],
        "recurrent_bias": rows[-1],
    }


def lstm(params: Params, x: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
    r"""One step of a long short-term memory.

    $$i, f, o = \sigma(\cdot), \quad g = \tanh(\cdot), \quad c \leftarrow f c + i g, \quad h \leftarrow o \tanh(c)$$

    Args:
        params: of `recurrent_params` with 4 gates, in the order $i, f, g, o$.
        x: `(batch, inputs)`.
        carry: $(h, c)$, `(batch, units)` each.

    Returns:
        The new $(h, c)$.

    References:
        Hochreiter and Schmidhuber, `Long short-term memory <https://doi.org/10.1162/neco.1997.9.8.1735>`_, 1997.
    """
    h, c = carry
    of_input = x @ params["input_kernel"] + params["input_bias"][None]
    of_output = h @ params["recurrent_kernel"] + params["recurrent_bias"][None]
    i, f, g, o = jnp.split(of_input + of_output, 4, axis=1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru(params: Params, xs: Array) -> Array:
    r"""The output of gated recurrent units after the last step of a sequence, from an initial state of zeros.

    $$r, z = \sigma(\cdot), \quad n = \tanh(W x + b + r (U h + d)), \quad h \leftarrow (1 - z) n + z h$$

    Args:
        params: of `recurrent_params` with 3 gates, in the order $r, z, n$.
        xs: `(steps, inputs)`, one short sequence: its steps are unrolled, so that `trace` can follow them.

    Returns:
        `(units,)`.

    References:
        Cho et al., `Learning phrase representations using RNN encoder-decoder for statistical machine translation
        <https://arxiv.org/abs/1406.1078>`_, 2014.
    """
    h = jnp.zeros(params["recurrent_kernel"].shape[0])
    for of_input in xs @ params["input_kernel"] + params["input_bias"][None]:
        of_output = h @ params["recurrent_kernel"] + params["recurrent_bias"]
        (r, z, n), (r_h, z_h, n_h) = jnp.split(of_input, 3), jnp.split(of_output, 3)
        r, z = jax.nn.sigmoid(r + r_h), jax.nn.sigmoid(z + z_h)
        h = (1 - z) * jnp.tanh(n + r * n_h) + z * h
    return h
