"""SoftSort: an order by scores that gradients can change."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from pliant.core.base import Array


def ranks(scores: Float[Array, "*rows units"]) -> Int[Array, "*rows units"]:
    """The place of each unit in the ascending order of the scores of its row, from 0; equal scores keep their order."""
    return jnp.argsort(jnp.argsort(scores))


def evenly_spaced(ranks: Int[Array, "*rows units"]) -> Float[Array, "*rows units"]:
    """Scores in [0, 1] with these ranks, at equal distances."""
    return ranks.astype(jnp.float32) / max(ranks.shape[-1] - 1, 1)


def soft_sorted(
    x: Float[Array, "batch units"], scores: Float[Array, " units"], temperature: float | Array
) -> Float[Array, "batch units"]:
    r"""The columns of `x` in the ascending order of their scores; gradients reach `x` and the scores.

    With the sorted scores $r$, the permutation matrix $H$ of the order and

    $$P_{ij} = \frac{\exp(-|r_i - s_j| / \tau)}{\sum_k \exp(-|r_i - s_k| / \tau)}$$

    the output is $y = x H^\top$, exactly. The gradient of $x$ is that of $x H^\top$; the gradient of the scores is that
    of $x P^\top$ with regard to $P$, a straight-through estimate. The output alone needs no $P$.

    Args:
        x: `(batch, units)`.
        scores: `(units,)`; equal scores keep their order.
        temperature: $\tau$, above 0. It has no gradient.

    References:
        Prillo and Eisenschlos, `SoftSort <https://arxiv.org/abs/2006.16038>`_, ICML 2020.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x, scores = jnp.array([[5.0, 7.0]]), jnp.array([1.0, 0.0])
        >>> first_column = jax.jit(jax.value_and_grad(lambda scores: soft_sorted(x, scores, 1.0)[0, 0]))
        >>> value, gradient = first_column(scores)
        >>> print(value, gradient.round(2))  # the nearer the scores, the more of the 5
        7.0 [ 0.39 -0.39]
    """
    return _soft_sorted(x, scores, jnp.asarray(temperature, jnp.float32))


@jax.custom_vjp
def _soft_sorted(x: Array, scores: Array, temperature: Array) -> Array:
    del temperature
    return x[:, jnp.argsort(scores)]


def _forward(x: Array, scores: Array, temperature: Array) -> tuple[Array, Any]:
    order = jnp.argsort(scores)
    y = x[:, order]
    return y, (y, scores[order], order, temperature)


def _backward(kept: Any, dy: Array) -> tuple[Array, Array, Array]:
    """All columns are in the sorted order here, in which $s$ is $r$."""
    y, r, order, tau = kept
    distance = r[:, None] - r[None]  # (units, units), of r_i from s_j
    P = jax.nn.softmax(-jnp.abs(distance) / tau, axis=1)
    dP = dy.T @ y
    d_distance = -jnp.sign(distance) / tau * P * (dP - (P * dP).sum(1, keepdims=True))
    ds = d_distance.sum(1) - d_distance.sum(0)
    place = jnp.argsort(order)
    return dy[:, place], ds[place], jnp.zeros_like(tau)


_soft_sorted.defvjp(_forward, _backward)
