"""Replacements: the number of units reinitialized so far."""

from typing import Any

from pliant.core.base import Array
from pliant.core.diagnostic import Diagnostic, group_state
from pliant.core.units import Wiring


def replacements(wiring: Wiring) -> Diagnostic:
    """Number of units that methods have reinitialized so far, in each group and (row `""`) in all of them.

    The fields `replaced` of the methods' states are read; they count from the start of training, or from the newest
    restart of the method. Counts of several methods add up. Without a method that reinitializes units there are no
    rows.

    Args:
        wiring: whose units to count.

    Signals:
        method_state: the state of the transformation that `plastic` returned.

    Example:
        >>> import jax, numpy as np, optax, pliant
        >>> from pliant.diagnostics import replacements
        >>> wiring = pliant.Wiring(
        ...     {"h": pliant.Group("h", 2, (pliant.Incoming("in", 1),), (), (pliant.Outgoing("out", 0, feature="h"),))}
        ... )
        >>> params = {"in": np.ones((3, 2)), "out": np.ones((2, 1))}
        >>> tx = pliant.plastic(optax.sgd(0.1), pliant.continual_backprop(wiring))
        >>> state = jax.jit(tx.init)(params)
        >>> float(replacements(wiring)(method_state=state)["h"])
        0.0
    """

    def measure(*, method_state: Any, **signals) -> dict[str, Array]:
        del signals
        counts = {name: sum(found) for name, found in group_state(method_state, "replaced", wiring).items()}
        return {**counts, "": sum(counts.values())} if counts else {}

    return measure
