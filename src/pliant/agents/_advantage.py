"""Generalized advantage estimation."""

import jax
import jax.numpy as jnp

from pliant.core.base import Array

from ._shapes import require_rank


def generalized_advantages(
    reward: Array,
    value: Array,
    next_value: Array,
    terminated: Array,
    ended: Array,
    discount: float | Array,
    gae_lambda: float | Array,
) -> Array:
    r"""Generalized advantage estimates, `(T, num_envs)`: how much better each action was than expected.

    $$\delta_t = r_t + \gamma (1 - d_t) V'_t - V_t, \qquad A_t = \delta_t + \gamma \lambda (1 - e_t) A_{t+1},
    \qquad A_T = 0.$$

    Args:
        reward: $r_t$, `(T, num_envs)` like all arrays here.
        value: $V_t$, of the observation acted upon.
        next_value: $V'_t$, of the observation that followed.
        terminated: $d_t$, bool: the episode ended where there is no future.
        ended: $e_t$, bool: the episode terminated or was truncated, and the next step belongs to another episode.
        discount: $\gamma$ in [0, 1].
        gae_lambda: $\lambda$ in [0, 1].

    Raises:
        ValueError: if the arrays do not have two axes, or differ in shape.

    References:
        Schulman et al., `High-dimensional continuous control using generalized advantage estimation
        <https://arxiv.org/abs/1506.02438>`_, ICLR 2016.
    """
    require_rank(2, reward=reward, value=value, next_value=next_value, terminated=terminated, ended=ended)
    delta = reward + discount * jnp.where(terminated, 0, next_value) - value
    decay = discount * gae_lambda * (1 - ended)

    def backwards(A: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
        delta, decay = now
        A = delta + decay * A
        return A, A

    _, A = jax.lax.scan(backwards, jnp.zeros_like(delta[0]), (delta, decay), reverse=True)
    return A


def normalized(A: Array) -> Array:
    """Advantages shifted to mean 0 and scaled to (unbiased) standard deviation 1; equal advantages are only shifted."""
    std = A.std(ddof=1)
    return (A - A.mean()) / jnp.where(std > 0, std, 1)
