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
_LARGE_BYTES = 64 * 1024 * 1024
_PRODUCTS_PER_BYTE = 100  # a call with fewer takes longer to copy its state; measured with SAC


def nbytes(tree: Any) -> int:
    """Bytes of a tree of arrays, or of their shapes and types."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def suits_map(in_short: Callable[[Array, Any], Any], shared: Any, in_environments: bool) -> bool:
    """Whether a CPU computes many members faster one after another than at once.

    It does with convolutions, and if the state of a member fills the cache. It does not if the state is far larger, or
    large beside what a call computes, because of a replay: to copy it in and out of a loop then takes longer than the
    computation.

    Args:
        in_short: `(seed, shared) -> member`, see `Loop.in_short`.
        shared: the data that all members share, or its shapes.
        in_environments: whether a call may be as short as a round of an agent.
    """
    program, after = jax.make_jaxpr(in_short, return_shape=True)(SEED, shared)
    if _convolves(program.jaxpr):
        return True
    size = nbytes(after.agent)
    is_short = in_environments and _products(program.jaxpr) < _PRODUCTS_PER_BYTE * size
    return _CACHE_BYTES < size < _LARGE_BYTES and not is_short


def _convolves(jaxpr: Any) -> bool:
    """Whether a jaxpr, or one inside it, has a convolution."""
    return any(
        equation.primitive.name == "conv_general_dilated" or any(map(_convolves, subjaxprs(equation)))
        for equation in jaxpr.eqns
    )


def _products(jaxpr: Any) -> int:
    """Multiplications of the matrix products of a jaxpr; of branches those of the longest, of open loops one turn."""
    total = 0
    for equation in jaxpr.eqns:
        inner = [_products(sub) for sub in subjaxprs(equation)]
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)
        elif equation.primitive.name == "cond":
            total += max(inner, default=0)
        else:
            total += equation.params.get("length", 1) * sum(inner)
    return total
