"""Full reset: reinitialize the whole network periodically."""

from pliant.core.base import Edit, Key, Params, Surgery, stateless_surgery
from pliant.core.settings import Whole, require, require_function
from pliant.core.timing import every
from pliant.surgery.resets import Initialize, set_back


def full_reset(initialize: Initialize, period: int = 200_000) -> Surgery:
    r"""Full reset: periodically reinitializes all parameters, so the network learns from scratch.

    Running statistics stay, as published; they follow the new network within some steps.

    With a replay buffer, a reset cures a network that has overfitted its first experiences. Without one, full reset is
    the baseline that never loses plasticity and remembers nothing.

    Args:
        initialize: `key -> params`, the network's initial parameters.
        period: steps from one reset to the next, at least 1. Published: 200000 (SAC).

    Signals:
        clock: optional; see `every`.

    Raises:
        TypeError: if `initialize` is no function.
        ValueError: for a value outside its range; if `initialize` returns the parameters of another network.

    Differs from the authors' code: a step count that the weights share (of `optax.adam`) continues; `pliant.adam`
    counts per weight, and those counts are reset. Target networks belong to the agent, and are not reset.

    References:
        Nikishin et al., `The primacy bias in deep reinforcement learning <https://arxiv.org/abs/2205.07802>`_,
        ICML 2022.

    Example:
        >>> import jax, numpy as np, optax, pliant
        >>> def initialize(key):
        ...     first, second = jax.random.split(key)
        ...     return {"in": jax.random.normal(first, (3, 4)), "out": jax.random.normal(second, (4, 1))}
        >>> tx = pliant.plastic(pliant.adam(1e-3), pliant.full_reset(initialize, period=200_000))
    """
    require_function("initialize", initialize, "key -> params")
    require("period", period, Whole(1))

    def operate(params: Params, *, random: Key, **signals) -> Edit:
        del signals
        return set_back(params, initialize(random))

    return every(period, stateless_surgery(operate))
