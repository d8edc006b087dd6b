"""Max-pooling by windows that do not overlap, with a gradient that is fast on CPUs.

The gradient is written with comparisons, in place of XLA's slow `select_and_scatter`.
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from pliant.core.base import Array


def max_pool(settings: dict[str, Any], x: Array) -> Array:
    """Max-pooling.

    Args:
        settings: parameters of JAX's primitive. The windows touch, and there is no padding or dilation.
        x: the operand.
    """
    windows = settings["window_dimensions"]

    @jax.custom_vjp
    def pooled(x: Array) -> Array:
        return lax.reduce_window_max_p.bind(x, **settings)

    def forward(x: Array) -> tuple[Array, tuple[Array, Array]]:
        y = pooled(x)
        return y, (x, y)

    def backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array]:
        """Each window's gradient goes to its first maximum, as in JAX."""
        x, y = saved
        whole = [size * window for size, window in zip(y.shape, windows)]
        split = [length for size, window in zip(y.shape, windows) for length in (size, window)]
        inside = lax.slice(x, (0,) * x.ndim, whole).reshape(split)
        found, parts = jnp.zeros(y.shape, bool), []
        for place in itertools.product(*map(range, windows)):
            here = (inside[tuple(i for at in place for i in (slice(None), at))] == y) & ~found
            found |= here
            parts.append(jnp.where(here, gradient, 0))
        # (*windows, *sizes) to (size, window, size, window, ...)
        order = [axis for i in range(x.ndim) for axis in (x.ndim + i, i)]
        dx = jnp.stack(parts).reshape(*windows, *y.shape).transpose(order).reshape(whole)
        return (jnp.pad(dx, [(0, size - length) for size, length in zip(x.shape, whole)]),)

    pooled.defvjp(forward, backward)
    return pooled(x)
