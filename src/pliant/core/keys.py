"""Random keys in the state of `plastic`, as plain numbers, because many file formats have no typed keys."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_Array = jax.Array
_Implementation = Any  # of a generator, as JAX names it; `None` is the default


def initial(key: int | np.integer[Any] | _Array, params: Any) -> _Array:
    """The data of a key, `(words,)`.

    Args:
        key: a key with or without a type; or a seed, which is joined with the parameters, so that each member of an
            ensemble has a key of its own.
        params: a tree of arrays.
    """
    if isinstance(key, int | np.integer):
        key = jax.random.fold_in(jax.random.key(key), _checksum(params))
    return jax.random.key_data(key)


def implementation(key: int | np.integer[Any] | _Array) -> _Implementation:
    """The generator of a key; the key's data do not determine it."""
    return jax.random.key_impl(key) if isinstance(key, jax.Array) and _is_typed(key) else None


def typed(key: _Array, implementation: _Implementation) -> _Array:
    """The key with the given data; a typed key is returned unchanged."""
    return key if _is_typed(key) else jax.random.wrap_key_data(key, impl=implementation)


def _is_typed(key: _Array) -> bool:
    return jnp.issubdtype(key.dtype, jax.dtypes.prng_key)


@jax.jit  # one program where each leaf would be several
def _checksum(params: Any) -> _Array:
    """A uint32 `()` that changes with the numbers of the parameters."""
    numbers = (jnp.real(leaf).astype(jnp.float32) for leaf in jax.tree.leaves(params) if not _is_typed(leaf))
    words = (jax.lax.bitcast_convert_type(each, jnp.uint32).sum(dtype=jnp.uint32) for each in numbers)
    return functools.reduce(jnp.add, words, jnp.uint32(0))
