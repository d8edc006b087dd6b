"""Normal numbers squashed into (-1, 1), the distribution of actions of soft actor-critic."""

import math
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from pliant.core.base import Array
from pliant.core.likelihood import LOG_STD_RANGE

Correction: TypeAlias = Literal["full", "half"]

_STD_FLOOR = 1e-8


class SquashedNormal(NamedTuple):
    r"""Independent numbers $\tanh u$ with $u \sim N(\mu, \sigma^2)$; $\log \sigma$ is clipped to [-20, 2]."""

    mean: Array  # (batch, size), of u
    log_std: Array  # (batch, size), of u, before clipping

    def mode(self) -> Array:
        """$\\tanh \\mu$, `(batch, size)`: the most probable u, squashed."""
        return jnp.tanh(self.mean)

    def sample(self, noise: Array, correction: Correction = "full") -> tuple[Array, Array]:
        r"""Random numbers $\tanh u$ with $u = \mu + \sigma \epsilon$, and the logarithm of their density,

        $$\ell = \sum_d \left( \log N(u_d; \mu_d, \sigma_d^2) - \log(1 - \tanh^2 u_d) \right).$$

        Args:
            noise: $\epsilon$, `(batch, size)`, standard normal.
            correction: `half`: each number's logarithm of $1 - \tanh^2 u$ is halved and log 2 is added to it.

        Returns:
            The numbers `(batch, size)`, and $\ell$ `(batch,)`.
        """
        log_std = jnp.clip(self.log_std, *LOG_STD_RANGE)
        std = jnp.exp(log_std)
        u = self.mean + std * noise
        z = std / (std + _STD_FLOOR) * noise
        log_normal = -0.5 * z**2 - log_std - 0.5 * math.log(2 * math.pi)
        log_slope = 2 * (math.log(2) - u - jax.nn.softplus(-2 * u))  # log(1 - tanh²u), also where tanh u rounds to 1
        if correction == "half":
            log_slope = 0.5 * log_slope + math.log(2)
        return jnp.tanh(u), (log_normal - log_slope).sum(1)
