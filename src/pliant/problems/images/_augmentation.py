"""Random augmentation of small images, all of it as one choice of pixels."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pliant.core.base import Array, Key

_PADDING = 4  # pixels that a crop may move an image by
_ANGLE = 15.0  # degrees that a rotation reaches


class Augmentation(NamedTuple):
    """Random numbers of one augmentation each."""

    flip: Array  # (images,) bool
    offset: Array  # (images, 2) int, row and column of the crop in the padded image, 0 to 8
    angle: Array  # (images,) degrees, counter-clockwise, 0 to 15


def augmentation(key: Key, images: int) -> Augmentation:
    """Draws the augmentation of some images; the key is consumed."""
    flip_key, offset_key, angle_key = jax.random.split(key, 3)
    return Augmentation(
        jax.random.bernoulli(flip_key, shape=(images,)),
        jax.random.randint(offset_key, (images, 2), 0, 2 * _PADDING + 1),
        jax.random.uniform(angle_key, (images,), maxval=_ANGLE),
    )


def pixels(augmentation: Augmentation, side: int) -> tuple[Array, Array, Array]:
    """Where each pixel of the augmented images comes from: a horizontal flip, then a crop, then a rotation.

    Crops are from the image padded by its reflection. A rotation is counter-clockwise about the centre and takes the
    nearest pixel.

    Args:
        augmentation: of some images.
        side: rows, and columns, of an image.

    Returns:
        Rows and columns in the image, `(images, side, side)` int each, and whether the pixel lies within the rotated
        image; outside of it a pixel has no colour.
    """
    centre = (side - 1) / 2
    radians = jnp.deg2rad(augmentation.angle)[:, None, None]
    sin, cos = jnp.sin(radians), jnp.cos(radians)
    from_centre = jnp.arange(side) - centre
    y, x = from_centre[None, :, None], from_centre[None, None, :]
    row = jnp.round(centre + x * sin + y * cos).astype(jnp.int32)
    column = jnp.round(centre + x * cos - y * sin).astype(jnp.int32)
    inside = (row >= 0) & (row < side) & (column >= 0) & (column < side)
    row = _reflected(row + augmentation.offset[:, 0, None, None] - _PADDING, side)
    column = _reflected(column + augmentation.offset[:, 1, None, None] - _PADDING, side)
    column = jnp.where(augmentation.flip[:, None, None], side - 1 - column, column)
    return row, column, inside


def _reflected(index: Array, side: int) -> Array:
    """Indices beyond the edges, reflected about the pixels at the edges."""
    return jnp.clip(side - 1 - jnp.abs(side - 1 - jnp.abs(index)), 0, side - 1)
