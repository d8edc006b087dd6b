"""Normal noise in large amounts, for methods that perturb every weight at every step."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import define_prng_impl, threefry_prng_impl
from jaxtyping import Float, UInt32

from pliant.core.base import Array, Key

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)


def normal(key: Key, number: int) -> Float[Array, " number"]:
    """Standard normal numbers, equal to `jax.random.normal(key, (number,))`, in less time on a CPU.

    On a CPU JAX runs the rounds of its generator in a loop, and each turn of it writes all numbers to memory. Here the
    rounds are written out, so that they stay in registers. `benchmarks/noise.py` measures both.

    Args:
        key: of any generator; only Threefry, JAX's default, is faster here.
        number: at least 0.

    References:
        Salmon et al., `Parallel random numbers: as easy as 1, 2, 3 <https://doi.org/10.1145/2063384.2063405>`_, SC
        2011.

    Example:
        >>> import jax
        >>> normal(jax.random.key(0), 3).shape
        (3,)
    """
    if str(jax.random.key_impl(key)) == "threefry2x32":
        key = jax.random.wrap_key_data(jax.random.key_data(key), impl=_UNROLLED)
    return jax.random.normal(key, (number,))


def _bits(key: UInt32[Array, "2"], bit_width: int, shape: tuple[int, ...]) -> Array:
    """Random bits: Threefry-2x32 of the numbers from 0, the two words of each combined, as JAX does."""
    if bit_width != 32 or math.prod(shape) >= 2**32 or not jax.threefry_partitionable.value:
        return threefry_prng_impl.random_bits(key, bit_width, shape)
    keys = (key[0], key[1], key[0] ^ key[1] ^ _PARITY)
    x, y = keys[0], jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape) + keys[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x = x + y
            y = x ^ ((y << np.uint32(rotation)) | (y >> np.uint32(32 - rotation)))
        x = x + keys[(group + 1) % 3]
        y = y + keys[(group + 2) % 3] + np.uint32(group + 1)
    return x ^ y


_UNROLLED = define_prng_impl(
    key_shape=threefry_prng_impl.key_shape,
    seed=threefry_prng_impl.seed,
    split=threefry_prng_impl.split,
    random_bits=_bits,
    fold_in=threefry_prng_impl.fold_in,
    name="threefry2x32 without a loop",
    tag="unrolled",
)
