"""Head reset: reinitialize the output layer, as at the start of each task."""

import jax
import jax.numpy as jnp

from pliant.core.base import Edit, Key, Params, Surgery, stateless_surgery
from pliant.core.settings import Whole, require, require_function
from pliant.core.timing import every
from pliant.core.units import Wiring, require_units
from pliant.surgery.resets import Initialize, head, set_back


def head_reset(wiring: Wiring, initialize: Initialize, period: int = 3000, zero: bool = True) -> Surgery:
    r"""Head reset: periodically reinitializes the output layer; the rest of the network stays.

    The output layer is the weights that read hidden units and feed none, with the biases behind them. In a network with
    several outputs (an actor and a critic) all output layers are reset.

    Args:
        wiring: of the whole network: with some groups only, the layer behind the last of them counts as output layer.
        initialize: `key -> params`, the network's initial parameters.
        period: steps from one reset to the next, at least 1. Published: 3000, one task of continual ImageNet.
        zero: whether the layer restarts at zero, as published there, or with weights from the initializer.

    Signals:
        clock: optional; see `every`.

    Raises:
        TypeError: if `initialize` is no function.
        ValueError: for a value outside its range; if the wiring has no output layer; if `initialize` returns the
            parameters of another network.

    Differs from the authors' code: the optimizer state of the layer is reset too, unless `plastic` has
    `reset_moments=False`, as in the authors' code. The first task keeps the network's initial weights.

    References:
        Dohare et al., `Loss of plasticity in deep continual learning <https://doi.org/10.1038/s41586-024-07711-7>`_,
        Nature 2024.

    Example:
        >>> import jax, numpy as np, optax, pliant
        >>> def initialize(key):
        ...     first, second = jax.random.split(key)
        ...     return {"in": jax.random.normal(first, (3, 4)), "out": jax.random.normal(second, (4, 1))}
        >>> def apply(params, x):
        ...     return jax.nn.relu(x @ params["in"]) @ params["out"]
        >>> wiring = pliant.trace(apply, {"in": np.ones((3, 4)), "out": np.ones((4, 1))}, np.ones((8, 3)))
        >>> tx = pliant.plastic(optax.adam(1e-3), pliant.head_reset(wiring, initialize, period=3000))
    """
    require_units(wiring, "head_reset")
    require_function("initialize", initialize, "key -> params")
    require("period", period, Whole(1))
    leaves = head(wiring)

    def operate(params: Params, *, random: Key, **signals) -> Edit:
        del signals
        source = jax.tree.map(jnp.zeros_like, params) if zero else initialize(random)
        return set_back(params, source, leaves)

    return every(period, stateless_surgery(operate))
