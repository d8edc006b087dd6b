"""Images as inputs of a network, and sets of images as splits."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from pliant.core.base import Array
from pliant.core.problem import Batch, Split

_LARGEST = 1000  # examples of a batch of a split


def flat(images: np.ndarray) -> np.ndarray:
    """Each image as one row of bytes, `(images, pixels)`."""
    return images.reshape(len(images), -1)


def centered(x: Array) -> Array:
    """Bytes as numbers from -1 to 1."""
    return x.astype(jnp.float32) / 127.5 - 1


def whole(examples: int, batch: Callable[[Any, Any, Array], Batch]) -> Split:
    """All examples of a set as a split: in batches of equal size, so that the mean over batches is that over examples.

    Args:
        examples: number of examples.
        batch: `(data, state, which) -> Batch`, the examples of the numbers `which` `(batch,)`.
    """
    size = max(size for size in range(1, _LARGEST + 1) if examples % size == 0)
    return Split(
        batches=lambda clock: examples // size,
        batch=lambda data, state, clock, i: batch(data, state, i * size + jnp.arange(size)),
    )
