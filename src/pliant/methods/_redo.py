"""ReDo: recycle dormant units periodically."""

from typing import NamedTuple, get_args

import jax.numpy as jnp

from pliant.core import units
from pliant.core.base import Activation, Array, Features, FreshInitializer, Key, Params, Surgery
from pliant.core.settings import AtLeast, Whole, require, require_one_of
from pliant.core.timing import every
from pliant.core.units import Group, Wiring
from pliant.surgery import recreation
from pliant.surgery.activity import is_dormant
from pliant.surgery.recreation import Rows


class RedoState(NamedTuple):
    replaced: dict[str, Array]  # {group: ()} units reinitialized so far


def redo(
    wiring: Wiring,
    threshold: float = 0.1,
    period: int = 1000,
    initializer: FreshInitializer = "network",
    activation: Activation = "relu",
) -> Surgery:
    r"""ReDo, recycling dormant neurons: periodically reinitializes the units of almost no activity.

    With means over the current batch and over the $n$ units of the group, unit $i$ is dormant if

    $$s_i = \frac{\overline{\lvert h_i \rvert}}{\frac 1 n \sum_k \overline{\lvert h_k \rvert}} \le \tau.$$

    Every `period` steps all dormant units get incoming weights from the initializer, zero bias and zero outgoing
    weights. A weight that is both incoming and outgoing (tied weights) comes from the initializer. A unit with several
    activations is dormant if all of them are.

    Args:
        wiring: whose units to reinitialize.
        threshold: $\tau$, at least 0; 0 recycles dead units only. Published: 0.025 in DQN at its default replay ratio
            and 0.1 at higher replay ratios; 0.1 in the PPO of Dohare et al.
        period: steps from one recycling to the next, at least 1. Published: 1000 in DQN; 100 in that PPO.
        initializer: distribution of fresh incoming weights; `network`: the network's own.
        activation: the network's nonlinearity, for their scale.

    Signals:
        features: activations of the forward pass from which the gradients came (`wiring.apply`).
        clock: optional; see `every`.

    Raises:
        ValueError: for a value outside its range.

    Differs from the authors' code: in a group that is dead as a whole, where the score is 0 / 0, all units are
    recycled (in the code of Dohare et al. none, so the group never recovers). Fresh weights are drawn by the
    initializer. The scores come from the training batch, not from a batch drawn for them.

    References:
        Sokar et al., `The dormant neuron phenomenon in deep reinforcement learning
        <https://arxiv.org/abs/2302.12902>`_, ICML 2023. Dohare et al., `Loss of plasticity in deep continual learning
        <https://doi.org/10.1038/s41586-024-07711-7>`_, Nature 2024.

    Example:
        >>> import jax, numpy as np, optax, pliant
        >>> def apply(params, x):
        ...     return jax.nn.relu(x @ params["in"]) @ params["out"]
        >>> params = {"in": np.ones((3, 4)), "out": np.ones((4, 1))}
        >>> wiring = pliant.trace(apply, params, np.ones((8, 3)))
        >>> tx = pliant.plastic(optax.adam(1e-3), pliant.redo(wiring, threshold=0.1, period=100))
    """
    units.require_units(wiring, "redo")
    require("threshold", threshold, AtLeast(0))
    require("period", period, Whole(1))
    require_one_of("initializer", initializer, get_args(FreshInitializer))

    def init(params: Params) -> RedoState:
        units.require_leaves(wiring, params)
        return RedoState(replaced={name: jnp.zeros((), jnp.int32) for name in wiring})

    def draw(key: Key, params: Params, steps: int) -> Rows:
        return recreation.draw_rows(key, params, wiring, steps=steps)

    def operate(params: Params, state: RedoState, *, random: Rows, features: Features, **signals):
        del signals
        dormant = {name: _is_dormant(features, group, threshold) for name, group in wiring.items()}
        chosen = {name: jnp.where(d, jnp.arange(d.size), d.size) for name, d in dormant.items()}
        replaced = {name: state.replaced[name] + d.sum(dtype=jnp.int32) for name, d in dormant.items()}
        return recreation.recreate(params, wiring, chosen, random, initializer, activation), RedoState(replaced)

    return every(period, Surgery(init, operate, draw))


def _is_dormant(features: Features, group: Group, threshold: float) -> Array:
    """`(units,)` bool: $s_i \\le \\tau$ for each reader of unit $i$."""
    dormant = jnp.ones(group.units, bool)
    for reader in group.outgoing:
        dormant &= is_dormant(units.activation(features, reader, group), threshold)
    return dormant
