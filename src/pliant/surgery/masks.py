"""Masks over weights: masks of the largest weights, masks that grow and prune, and owners of weights."""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, UInt32

from pliant.core import replicas
from pliant.core.base import Array


def masked(weights: Mapping[str, Array], masks: Mapping[str, Bool[Array, "..."]]) -> dict[str, Array]:
    """The masked leaves, with 0 where the mask is false; leaves without a mask are left out.

    Args:
        weights: the leaves by path.
        masks: `{path: like the leaf}` bool.
    """
    return {path: jnp.where(mask, weights[path], 0) for path, mask in masks.items()}


def grow_and_prune(
    mask: Bool[Array, "*shape"],
    worth: UInt32[Array, "*shape"],
    demand: UInt32[Array, "*shape"],
    *,
    grown: Int[Array, ""],
    pruned: Int[Array, ""],
    ties: UInt32[Array, "2"],
) -> Bool[Array, "*shape"]:
    """One topology step of a layer: removes the weights of least worth, and adds those of largest demand.

    Of the $a$ present weights, the $a - p$ of largest worth stay. Of all other weights, the removed ones included, the
    $k$ of largest demand are added. Equal weights are ranked by chance.

    Args:
        mask: bool of any shape, the present weights.
        worth: uint32 below 2^31, like the mask: see `ordered`.
        demand: uint32 below 2^31, like the mask: the magnitude of a gradient, or 0 everywhere for growth at random.
        grown: `()` int, $k$; none if negative.
        pruned: `()` int, $p$; if negative, $-p$ missing weights are added at random instead.
        ties: `(2,)` uint32, random: ranks equal weights among those to keep, and among those to add.

    Returns:
        The new mask.
    """
    kept = largest(jnp.where(mask, worth + 2, 1), mask.sum(dtype=jnp.int32) - pruned, ties[0])
    return kept | largest(jnp.where(kept, 0, demand + 1), grown, ties[1])


def allot(
    owners: Int[Array, "*shape"],
    weights: Float[Array, "*shape"],
    owner: Int[Array, ""] | int,
    rank: Int[Array, ""] | int,
) -> Int[Array, "*shape"]:
    """Gives the free weights of a leaf with the largest magnitudes to an owner.

    The magnitudes of all weights are ranked, those of weights with an owner as 0. An owner gets the weights whose
    magnitude is larger than the one of the rank: of $n$ weights at most $n$ - rank.

    Args:
        owners: the owner of each weight; negative: the weight is free.
        weights: like the owners.
        owner: `()` int of at least 0.
        rank: `()` int, counted from 1, ascending; 0: all free weights but those of 0 are above it.

    Returns:
        The new owners.
    """
    worth = jnp.where(owners < 0, ordered(jnp.abs(weights)), 0)
    above, _ = _split(worth, jnp.asarray(worth.size - rank + 1, jnp.int32))
    return jnp.where(above, jnp.asarray(owner, owners.dtype), owners)


def owned_until(owners: Int[Array, "*shape"], last: Int[Array, ""] | int) -> Bool[Array, "*shape"]:
    """Marks the weights whose owner is one of 0, 1, ..., `last`.

    Args:
        owners: the owner of each weight; negative: the weight is free.
        last: `()` int.
    """
    return (owners >= 0) & (owners <= jnp.asarray(last, owners.dtype))


def largest(
    keys: UInt32[Array, "*shape"], count: Int[Array, ""] | np.int32 | int, seed: UInt32[Array, ""] | int
) -> Bool[Array, "*shape"]:
    """Marks the entries with the largest keys; equal keys are ranked by chance.

    There is no sort. The bits of the smallest chosen key are found one by one, each by counting. On a CPU this takes a
    tenth of the time, and the count may be traced.

    Args:
        keys: uint32 of any shape; entries of key 0 are never chosen. For floats of at least 0, see `ordered`.
        count: `()` int, how many to choose; fewer if fewer have keys above 0.
        seed: `()` uint32, ranks equal keys.

    Returns:
        Bool, like the keys.
    """
    count = jnp.minimum(count, (keys > 0).sum(dtype=jnp.int32))
    above, equal = _split(keys, count)
    missing = count - above.sum(dtype=jnp.int32)
    ranks = _shuffled(keys.shape, seed)
    # Where all equal keys are chosen their ranks do not matter.
    bits = jnp.where(missing == equal.sum(dtype=jnp.int32), 0, 32)
    first, last = _split(jnp.where(equal, ranks, 0), missing, bits)
    return above | (equal & (first | last) & (missing > 0))


def ordered(values: Float[Array, "*shape"]) -> UInt32[Array, "*shape"]:
    """Numbers of at least 0 as uint32 below 2^31 in the same order: the bits of a float32."""
    return jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.uint32)


def _split(keys: Array, count: Array, bits: Array | int = 32) -> tuple[Array, Array]:
    """Marks the keys above, and the keys equal to, the largest number that at least `count` keys reach.

    Only the first `bits` bits of that number are found; the others are 0.
    """

    # Compared within the loop: the compiler may compute the keys again for a reader outside, rounded otherwise, and
    # then no key would equal the number.
    def with_bit(i: Array, found: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        number, _, _ = found
        larger = number | (jnp.uint32(1) << (31 - i).astype(jnp.uint32))
        number = jnp.where((keys >= larger).sum(dtype=jnp.int32) >= count, larger, number)
        return number, keys > number, keys == number

    start = jax.tree.map(lambda x: replicas.differing(x, keys, count), (jnp.uint32(0), keys > 0, keys == 0))
    return jax.lax.fori_loop(0, bits, with_bit, start)[1:]


def _shuffled(shape: tuple[int, ...], seed: Array | int) -> Array:
    """A different uint32 for each entry, in an order that the seed decides."""
    x = jax.lax.iota(jnp.uint32, math.prod(shape)) ^ jnp.asarray(seed, jnp.uint32)
    # Each line is invertible, so no two entries become equal (the finalizer of MurmurHash3).
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return (x ^ (x >> 16)).reshape(shape)
