"""Matrix products of few rows with large weights, as in a wide network that learns from one example at a time.

Such a product takes the time in which its weights are read and written. XLA moves more than it has to:

* In a training loop nothing says that the gradient of the input, which reads the weights, comes before their update. So
  XLA copies the weights first. Here the gradient of the weights waits for that of the input.
* The product of one row reads its weights slowly. Here it is the sum of the products of some parts.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jaxlib
from jax import lax
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero

from pliant.core.base import Array

_LARGE = 32_000  # bytes of weights
_FEW = 1 / 8  # of the weights' numbers are those of the input at most
_PARTS = 8 if jaxlib.version.__version_info__ < (0, 12) else 2  # from 0.12 on batches of more are slow


def is_of_few_rows(settings: dict[str, Any], a: Any, b: Any) -> bool:
    """Whether `product` computes the product faster than XLA.

    Args:
        settings: parameters of JAX's primitive.
        a: the shape and type of the first operand.
        b: those of the second operand.
    """
    x, w = sorted((a, b), key=lambda operand: operand.size)
    one_type = x.dtype == w.dtype and settings["preferred_element_type"] in (None, w.dtype)
    large = w.size * w.dtype.itemsize >= _LARGE and x.size <= _FEW * w.size
    return one_type and large and jnp.issubdtype(w.dtype, jnp.floating)


def product(settings: dict[str, Any], a: Array, b: Array) -> Array:
    """A product of few rows.

    Args:
        settings: parameters of JAX's primitive.
        a: the first operand.
        b: the second operand; one of both has many more numbers than the other, and is called the weights.
    """
    weights_first = a.size > b.size

    def plain(x: Array, w: Array) -> Array:
        return lax.dot_general_p.bind(*((w, x) if weights_first else (x, w)), **settings)

    in_parts = not weights_first and _is_of_one_row(settings, a, b)

    def multiply(x: Array, w: Array) -> Array:
        return _in_parts(settings, x, w) if in_parts else plain(x, w)

    multiplied = jax.custom_vjp(multiply)

    def forward(x: CustomVJPPrimal, w: CustomVJPPrimal) -> tuple[Array, _Saved]:
        return multiply(x.value, w.value), _Saved(x.value, w.value, () if x.perturbed else None)

    def backward(saved: _Saved, gradient: Array | SymbolicZero) -> tuple[Array, Array]:
        x, w, of_input = saved
        if isinstance(gradient, SymbolicZero):
            return jnp.zeros_like(x), jnp.zeros_like(w)
        (dx,) = jax.linear_transpose(lambda x: plain(x, w), x)(gradient)
        seen = x if of_input is None else _after(dx, x)
        (dw,) = jax.linear_transpose(lambda w: plain(seen, w), w)(gradient)
        return dx, dw

    multiplied.defvjp(forward, backward, symbolic_zeros=True)
    return multiplied(*((b, a) if weights_first else (a, b)))


class _Saved(NamedTuple):
    x: Array
    w: Array
    of_input: tuple[()] | None  # `None` if nobody asks for the gradient of `x`: part of the structure, and no value


def _after(first: Array, then: Array) -> Array:
    """The second array, which now depends on the first. XLA removes `lax.optimization_barrier` on CPUs."""
    return then - 0 * jnp.where(jnp.isfinite(first), jnp.abs(first), 0)


def _is_of_one_row(settings: dict[str, Any], x: Array, w: Array) -> bool:
    """Whether `x` is one row, `(K,)` or `(1, K)`, and `w` a matrix `(K, N)` whose rows can be split into parts."""
    plain = settings["dimension_numbers"] == (((x.ndim - 1,), (0,)), ((), ()))
    return plain and w.ndim == 2 and x.size == len(w) and len(w) % _PARTS == 0


def _in_parts(settings: dict[str, Any], x: Array, w: Array) -> Array:
    numbers = (((1,), (1,)), ((0,), (0,)))
    parts = (w.reshape(_PARTS, -1, w.shape[1]), x.reshape(_PARTS, -1))
    y = lax.dot_general_p.bind(*parts, **{**settings, "dimension_numbers": numbers}).sum(0)
    return y.reshape(*x.shape[:-1], -1)
