"""Measures a program by its jaxpr, without running it."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from pliant.core.base import Array
from pliant.tracing.inlining import subjaxprs

SEED = jax.ShapeDtypeStruct((), jnp.uint32)

_CACHE_BYTES = 256 * 1024  # measured with MLPs: at 230 KB both ways take as long
_LARGE_BYTES = 64 * 1024 * 1024  # of a member that learns from a stream, where a call has many updates
_LARGE_REPLAY_BYTES = 16 * 1024 * 1024  # of an agent in environments, where a call may have one update


def nbytes(tree: Any) -> int:
    """Bytes of a tree of arrays, or of their shapes and types."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def suits_map(in_short: Callable[[Array, Any], Any], shared: Any, in_environments: bool) -> bool:
    """Whether a CPU computes many members faster one after another than at once.

    It does with convolutions, and if the state of a member fills the cache. It does not if the state is far larger,
    because of a replay: to copy it in and out of a loop then takes longer than the computation.

    Args:
        in_short: `(seed, shared) -> member`, see `Loop.in_short`.
        shared: the data that all members share, or its shapes.
        in_environments: whether a call ends with each round of an agent.
    """
    program, after = jax.make_jaxpr(in_short, return_shape=True)(SEED, shared)
    large = _LARGE_REPLAY_BYTES if in_environments else _LARGE_BYTES
    return _convolves(program.jaxpr) or _CACHE_BYTES < nbytes(after.agent) < large


def _convolves(jaxpr: Any) -> bool:
    """Whether a jaxpr, or one inside it, has a convolution."""
    return any(
        equation.primitive.name == "conv_general_dilated" or any(map(_convolves, subjaxprs(equation)))
        for equation in jaxpr.eqns
    )
