"""A condition that stays a condition under `vmap`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from pliant.core.base import Array


def rarely(condition: Array, function: Callable[..., Any], otherwise: Any, *operands: Any) -> Any:
    """`function(*operands)` where the condition holds, else `otherwise`; skips the function where it holds nowhere.

    Under `vmap`, `jax.lax.cond` with a condition for each member computes both of its branches at all times. This one
    asks whether the condition holds for any member, and computes the function for all of them then.

    Args:
        condition: `()` bool.
        function: pure, of arrays.
        otherwise: as the function's result.
        operands: trees of arrays.
    """

    @jax.custom_batching.custom_vmap
    def chosen(condition: Array, otherwise: Any, operands: tuple[Any, ...]) -> Any:
        return jax.lax.cond(condition, lambda: function(*operands), lambda: otherwise)

    @chosen.def_vmap
    def _(size: int, batched: Any, condition: Array, otherwise: Any, operands: tuple[Any, ...]) -> Any:
        def one(condition: Array, otherwise: Any, operands: tuple[Any, ...]) -> Any:
            return jax.tree.map(lambda new, old: jnp.where(condition, new, old), function(*operands), otherwise)

        axes = jax.tree.map(lambda is_batched: 0 if is_batched else None, batched)
        every = jax.vmap(one, axes, axis_size=size)
        kept = jax.vmap(lambda *values: values[1], axes, axis_size=size)(condition, otherwise, operands)
        result = rarely(condition.any(), every, kept, condition, otherwise, operands)
        return result, jax.tree.map(lambda _: True, result)

    return chosen(condition, otherwise, operands)
