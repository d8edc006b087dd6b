"""Permutations that leave some elements where they are."""

import jax
import jax.numpy as jnp

from pliant.core.base import Array, Key


def permutation(key: Key, size: int, moved: Array | int) -> Array:
    """A permutation `(size,)` that moves a random choice of `moved` elements, which may be traced, among each other."""
    order = jax.random.permutation(key, size)
    is_moved = jnp.argsort(order) < moved  # the elements that come first in the order
    return jnp.where(is_moved, order[jnp.cumsum(is_moved) - 1], jnp.arange(size))
