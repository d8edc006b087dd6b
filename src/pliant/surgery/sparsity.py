"""Networks of which some weights are missing: how many each layer keeps, and how the largest are found."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core.base import Array


def erdos_renyi(shapes: Sequence[tuple[int, ...]], sparsity: float | Array, whole: int = 0) -> Array | np.ndarray:
    r"""How sparse each layer is, so that all together have a given sparsity: small layers keep more of their weights.

    The density of a layer with $n$ weights and axes of lengths $a, b, \dots$ is

    $$d = \min(1, \epsilon \, p), \qquad p = (a + b + \dots) / n,$$

    with the one $\epsilon$ for which the layers and the whole weights together have the density 1 - sparsity.

    Args:
        shapes: of the layers' weights.
        sparsity: in [0, 1), of all together; may be traced.
        whole: how many weights there are besides, of which none is missing.

    Returns:
        The sparsity of each layer, `(layers,)` in [0, 1]: float64 of NumPy, or float32 where the sparsity is traced.

    Raises:
        ValueError: if the whole weights alone are more than the sparsity leaves.

    References:
        Mocanu et al., `Scalable training of artificial neural networks with adaptive sparse connectivity
        <https://arxiv.org/abs/1707.04780>`_, 2018. Evci et al., `Rigging the lottery: making all tickets winners
        <https://arxiv.org/abs/1911.11134>`_, ICML 2020.
    """
    n = np.array([math.prod(shape) for shape in shapes])
    ends = np.array([sum(shape) for shape in shapes])
    p, total = ends / n, n.sum() + whole
    if not isinstance(sparsity, jax.core.Tracer) and whole > (1 - sparsity) * total:
        raise ValueError(
            f"sparsity={sparsity}: of {total} weights {whole} belong to norms, of which none can be missing; "
            f"write at most {math.floor(1000 * (1 - whole / total)) / 1000}"
        )
    # Full are the layers with the largest p: the fewest with which the others fit.
    levels = np.unique(p)[::-1]
    full = p[None] > levels[:, None]  # (levels, layers)
    left = (1 - sparsity) * total - whole - (full * n).sum(1)
    epsilon = left / (~full * ends).sum(1)  # (levels,)
    level = (epsilon * levels <= 1).argmax()
    numpy = np if isinstance(epsilon, np.ndarray) else jnp
    return 1 - numpy.where(numpy.asarray(full)[level], 1.0, epsilon[level] * p)


def largest(keys: Array, count: Array | int, seed: Array | int) -> Array:
    """Which entries have the largest keys; among equal ones chance decides.

    No sort: the bits of the smallest key that is in are found one by one, each by counting. On a CPU this takes a tenth
    of the time, and the count may be known at run time only.

    Args:
        keys: uint32 of any shape; entries of key 0 are never chosen. For floats of at least 0, see `ordered`.
        count: `()` int, how many to choose; fewer if there are fewer.
        seed: `()` uint32, what chance follows.

    Returns:
        Bool, like the keys.
    """
    count = jnp.minimum(count, (keys > 0).sum(dtype=jnp.int32))
    above, equal = _split(keys, count)
    missing = count - above.sum(dtype=jnp.int32)
    ties = _shuffled(keys.shape, seed)
    # Where all of them are in there is nothing to find out.
    bits = jnp.where(missing == equal.sum(dtype=jnp.int32), 0, 32)
    first, last = _split(jnp.where(equal, ties, 0), missing, bits)
    return above | (equal & (first | last) & (missing > 0))


def ordered(values: Array) -> Array:
    """Numbers of at least 0 as uint32 below 2^31 of the same order: the bits of a float32 are."""
    return jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.uint32)


def _split(keys: Array, count: Array, bits: Array | int = 32) -> tuple[Array, Array]:
    """Which keys are above the largest number that at least `count` of them reach, and which are that number.

    Of the number itself as many bits are found as are asked for; the others are 0.
    """

    # Compared within the loop: the compiler may compute keys anew for whoever reads them after it, rounded otherwise,
    # and then none would be the number that was found.
    def with_bit(i: Array, found: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        number, _, _ = found
        larger = number | (jnp.uint32(1) << (31 - i).astype(jnp.uint32))
        number = jnp.where((keys >= larger).sum(dtype=jnp.int32) >= count, larger, number)
        return number, keys > number, keys == number

    return jax.lax.fori_loop(0, bits, with_bit, (jnp.uint32(0), keys > 0, keys == 0))[1:]


def _shuffled(shape: tuple[int, ...], seed: Array | int) -> Array:
    """A different uint32 for each entry, in an order that the seed decides."""
    x = jax.lax.iota(jnp.uint32, math.prod(shape)) ^ jnp.asarray(seed, jnp.uint32)
    # Each line can be undone, so no two entries become equal (the finalizer of MurmurHash3).
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return (x ^ (x >> 16)).reshape(shape)
