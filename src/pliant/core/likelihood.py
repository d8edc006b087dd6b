r"""Likelihoods of network outputs, for Fisher information and for distances between outputs.

A likelihood names statistics $v(h)$ of the outputs $h$, and a weight $w$ of each, so that the diagonal of the Fisher
information of the parameters $\theta$ for one input is

$$F = \sum_k w_k \left(\frac{\partial v_k}{\partial \theta}\right)^2.$$
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from .base import Array

# Outputs, a tree of (batch, ...) arrays -> statistics and weights, (batch, k) each.
Likelihood: TypeAlias = Callable[[Any], tuple[Array, Array]]

LOG_STD_RANGE = (-20.0, 2.0)
_VARIANCE_FLOOR = 1e-6


def gaussian(outputs: tuple[Array, Array]) -> tuple[Array, Array]:
    r"""Independent normal numbers: $v = (\mu, \sigma)$, $w = (1, 2) / (\sigma^2 + 10^{-6})$.

    Args:
        outputs: mean `(batch, size)` and log standard deviation `(batch, size)`, which is clipped to [-20, 2].
    """
    mean, log_std = outputs
    std = jnp.exp(jnp.clip(log_std, *LOG_STD_RANGE))
    precision = 1 / (std**2 + _VARIANCE_FLOOR)
    return jnp.concatenate([mean, std], 1), jnp.concatenate([precision, 2 * precision], 1)


def categorical(logits: Array) -> tuple[Array, Array]:
    r"""One of several classes: $v = \log p$, $w = p$.

    Args:
        logits: `(batch, classes)`, not normalized.
    """
    log_p = jax.nn.log_softmax(logits)
    return log_p, jnp.exp(log_p)


def unit_normal(outputs: Array) -> tuple[Array, Array]:
    """Normal numbers of variance 1, the likelihood of a squared error: $v$ are the outputs, $w = 1$.

    Args:
        outputs: `(batch, *output)`.
    """
    values = outputs.reshape(outputs.shape[0], -1)
    return values, jnp.ones_like(values)


def divergence(then: tuple[Array, Array], v: Array) -> Array:
    r"""Kullback-Leibler divergence from the outputs then to the outputs now, of second order, `(batch,)`.

    $$\frac{1}{2} \sum_k w^*_k (v_k - v^*_k)^2.$$

    Args:
        then: statistics $v^*$ and weights $w^*$ of the outputs then, `(batch, k)` each.
        v: statistics of the outputs now, `(batch, k)`.
    """
    v_then, w_then = then
    return 0.5 * (w_then * (v - v_then) ** 2).sum(1)
