"""Topology steps: how often a sparse network's masks have changed."""

from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp

from pliant.core.base import Array
from pliant.core.diagnostic import Diagnostic, networks, states_with_masks
from pliant.core.units import Wiring


def topology_steps(wiring: Wiring) -> Diagnostic:
    """Number of steps so far at which methods changed their masks, for each network, and (row `""`) for all of them.

    The fields `topology_steps` of the methods' states are read, and the fields `mask`, which name the leaves; a mask
    without a count never changes. An agent with several networks has a row for each of them, and the counts of several
    methods on one network add up. The row `""` counts each step once, also where a method changes two networks at a
    time. Without a method that masks weights there are no rows.

    Args:
        wiring: whose weights.

    Signals:
        method_state: the state of the transformation that `plastic` returned.

    Example:
        >>> import jax, numpy as np, optax, pliant
        >>> from pliant.diagnostics import topology_steps
        >>> wiring = pliant.Wiring(
        ...     {"h": pliant.Group("h", 2, (pliant.Incoming("in", 1),), (), (pliant.Outgoing("out", 0, feature="h"),))}
        ... )
        >>> params = {"in": np.ones((3, 2)), "out": np.ones((2, 1))}
        >>> tx = pliant.plastic(optax.sgd(0.1), pliant.neuroplastic_expansion(wiring, initial_sparsity=0.5))
        >>> state = jax.jit(tx.init)(params)
        >>> float(topology_steps(wiring)(method_state=state)[""])
        0.0
    """
    paths = {slot.path for group in wiring.values() for slot in (*group.incoming, *group.outgoing)}

    def measure(*, method_state: Any, **signals) -> dict[str, Array]:
        del signals
        states = [state for state in states_with_masks(method_state) if paths & state.mask.keys()]
        names = networks(path for state in states for path in state.mask)
        rows = {name: _steps(state for state in states if name in networks(state.mask, 1)) for name in names}
        return {**rows, "": _steps(states)} if states else {}

    return measure


def _steps(states: Iterable[Any]) -> Array:
    return jnp.asarray(sum(getattr(state, "topology_steps", 0) for state in states), jnp.int32)
