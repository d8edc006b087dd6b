"""Unit utility: the quantity by which a method ranks the units."""

from typing import Any, get_args

from pliant.core.base import Array
from pliant.core.diagnostic import Diagnostic, Statistic, summarize, unit_state
from pliant.core.settings import require_one_of
from pliant.core.units import Wiring


def unit_utility(wiring: Wiring, *, statistic: Statistic = "mean") -> Diagnostic:
    """Utility of the units of each group, from the method's state.

    The fields `utility` of the methods' states are read; without a method that rates units there are no rows. The
    method defines the utility: in continual backpropagation it is a running average, not corrected for a unit's age.

    Args:
        wiring: whose units to measure.
        statistic: over the units of a group: `mean`, `median`, `min` or `max`.

    Signals:
        method_state: the state of the transformation that `plastic` returned.

    Raises:
        ValueError: for an unknown statistic; when measuring, if two methods rate the units of one group.

    Example:
        >>> import jax, numpy as np, optax, pliant
        >>> from pliant.diagnostics import unit_utility
        >>> wiring = pliant.Wiring(
        ...     {"h": pliant.Group("h", 2, (pliant.Incoming("in", 1),), (), (pliant.Outgoing("out", 0, feature="h"),))}
        ... )
        >>> params = {"in": np.ones((3, 2)), "out": np.ones((2, 1))}
        >>> tx = pliant.plastic(optax.sgd(0.1), pliant.continual_backprop(wiring))
        >>> state = jax.jit(tx.init)(params)
        >>> float(unit_utility(wiring)(method_state=state)["h"])
        0.0
    """
    require_one_of("statistic", statistic, get_args(Statistic))

    def measure(*, method_state: Any, **signals) -> dict[str, Array]:
        del signals
        utilities = unit_state(method_state, "utility", wiring)
        for name, found in utilities.items():
            if len(found) > 1:
                raise ValueError(
                    f"{len(found)} methods rate the units of group {name!r}, each in its own measure; "
                    "pass method_state with the state of one of them"
                )
        return {name: summarize(found[0], statistic) for name, found in utilities.items()}

    return measure
