"""Permutations that leave some elements where they are."""

import jax
import jax.numpy as jnp

from pliant.core.base import Array, Key


def permutation(key: Key, size: int, moved: int) -> Array:
    """A permutation `(size,)` that moves a random choice of `moved` elements among each other."""
    order = jax.random.permutation(key, size)
    chosen = jnp.sort(order[:moved])
    return jnp.arange(size).at[chosen].set(order[:moved])
