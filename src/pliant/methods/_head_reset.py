"""Head reset: begin the output layer anew, as at the border of two tasks."""

import jax
import jax.numpy as jnp

from pliant.core.base import Edit, Key, Params, Surgery, stateless_surgery
from pliant.core.settings import AtLeast, require
from pliant.core.timing import every
from pliant.core.units import Wiring
from pliant.surgery.resets import Initialize, head, set_back


def head_reset(wiring: Wiring, initialize: Initialize, period: int = 3000, zero: bool = True) -> Surgery:
    r"""Head reset: every so many steps, begins the output layer anew and leaves the rest of the network alone.

    The output layer are the weights that read hidden units and feed none, and the biases behind them. With several
    outputs (an actor and a critic) all of them begin anew.

    Args:
        wiring: the whole network's; one cut down by `only(...)` takes the last of its groups for the last of all.
        initialize: `key -> params`, the network's initializer.
        period: steps from one reset to the next, at least 1. Published: 3000, one task of continual ImageNet.
        zero: whether the layer begins at zero, as published there, or with weights from the initializer.

    Signals:
        step: optional; see `every`.

    Raises:
        ValueError: for a value outside its range; if the wiring has no output layer; if `initialize` returns the
            parameters of another network.

    Differs from the authors' code: the optimizer forgets the weights that went, unless `plastic` has
    `reset_moments=False`, as in theirs. The first task keeps the network's own initial weights.

    References:
        Dohare et al., `Loss of plasticity in deep continual learning <https://doi.org/10.1038/s41586-024-07711-7>`_,
        Nature 2024.
    """
    require("period", period, AtLeast(1))
    leaves = head(wiring)

    def operate(params: Params, *, random: Key, **signals) -> Edit:
        del signals
        source = jax.tree.map(jnp.zeros_like, params) if zero else initialize(random)
        return set_back(params, source, leaves)

    return every(period, stateless_surgery(operate))
