"""Layer reset: reinitialize some layers periodically."""

from pliant.core.base import Edit, Key, Params, Surgery, stateless_surgery
from pliant.core.settings import Whole, require, require_function
from pliant.core.timing import every
from pliant.core.units import Wiring, require_units
from pliant.surgery.resets import Initialize, head, last_layers, layer, set_back


def layer_reset(wiring: Wiring, initialize: Initialize, layers: str = "last:1", period: int = 20_000) -> Surgery:
    r"""Layer reset: periodically reinitializes all weights of some layers.

    A hidden layer is the weights that produce a group of units, with the biases and norms of the group; running
    statistics stay. The output layer, `head`, is the weights that read hidden units and feed none, with their biases.

    Args:
        wiring: of the whole network: with some groups only, the layer behind the last of them counts as output layer.
        initialize: `key -> params`, the network's initial parameters.
        layers: `last:2`, a number of layers counted from the outputs (1 is the head); or names of groups and `head`,
            separated by commas: `Dense_1,head`.
        period: steps from one reset to the next, at least 1. Published: `last:1` every 20000 steps (SPR); the last
            three of seven layers every 200000 (DrQ); see also `full_reset`.

    Signals:
        clock: optional; see `every`.

    Raises:
        TypeError: if `initialize` is no function.
        ValueError: for a value outside its range; for a layer that is not there; if `initialize` returns the
            parameters of another network.

    Differs from the authors' code: the optimizer state of the layers is reset too, unless `plastic` has
    `reset_moments=False`. Target networks belong to the agent, and are not reset.

    References:
        Nikishin et al., `The primacy bias in deep reinforcement learning <https://arxiv.org/abs/2205.07802>`_,
        ICML 2022.

    Example:
        >>> import jax, numpy as np, optax, pliant
        >>> def initialize(key):
        ...     first, second = jax.random.split(key)
        ...     return {"in": jax.random.normal(first, (3, 4)), "out": jax.random.normal(second, (4, 1))}
        >>> def apply(params, x):
        ...     return jax.nn.relu(x @ params["in"]) @ params["out"]
        >>> wiring = pliant.trace(apply, {"in": np.ones((3, 4)), "out": np.ones((4, 1))}, np.ones((8, 3)))
        >>> tx = pliant.plastic(optax.adam(1e-3), pliant.layer_reset(wiring, initialize, layers="last:2"))
    """
    require_units(wiring, "layer_reset")
    require_function("initialize", initialize, "key -> params")
    require("period", period, Whole(1))
    leaves = _leaves(wiring, layers)

    def operate(params: Params, *, random: Key, **signals) -> Edit:
        del signals
        return set_back(params, initialize(random), leaves)

    return every(period, stateless_surgery(operate))


def _leaves(wiring: Wiring, layers: str) -> set[str]:
    """The paths of the leaves of the chosen layers."""
    first, _, count = layers.partition(":")
    if first == "last" and count.isdecimal():
        return last_layers(wiring, int(count))
    names = [name.strip() for name in layers.split(",")]
    unknown = [name for name in names if name not in (*wiring, "head")]
    if unknown:
        raise ValueError(f"layers={layers!r}: no layer {unknown[0]!r}; write last:N, or of: {', '.join(wiring)}, head")
    return set().union(*(layer(wiring[name]) if name in wiring else head(wiring) for name in names))
