"""Unit age: steps since the units were initialized."""

from functools import reduce
from typing import Any, get_args

import jax.numpy as jnp

from pliant.core.base import Array
from pliant.core.diagnostic import Diagnostic, Statistic, summarize, unit_state
from pliant.core.settings import require_one_of
from pliant.core.units import Wiring


def unit_age(wiring: Wiring, *, statistic: Statistic = "mean") -> Diagnostic:
    """Age of the units of each group, in steps since they were initialized.

    The fields `age` of the methods' states are read; without a method that counts ages there are no rows. Where several
    methods reinitialize the units of one group, the smallest count is a unit's age.

    Args:
        wiring: whose units to measure.
        statistic: over the units of a group: `mean`, `median`, `min` or `max`.

    Signals:
        method_state: the state of the transformation that `plastic` returned. A method under `every` counts the steps
            at which it acts.

    Raises:
        ValueError: for an unknown statistic.

    Example:
        >>> import jax, numpy as np, optax, pliant
        >>> from pliant.diagnostics import unit_age
        >>> wiring = pliant.Wiring(
        ...     {"h": pliant.Group("h", 2, (pliant.Incoming("in", 1),), (), (pliant.Outgoing("out", 0, feature="h"),))}
        ... )
        >>> params = {"in": np.ones((3, 2)), "out": np.ones((2, 1))}
        >>> tx = pliant.plastic(optax.sgd(0.1), pliant.continual_backprop(wiring))
        >>> state = jax.jit(tx.init)(params)
        >>> float(unit_age(wiring)(method_state=state)["h"])
        0.0
    """
    require_one_of("statistic", statistic, get_args(Statistic))

    def measure(*, method_state: Any, **signals) -> dict[str, Array]:
        del signals
        ages = unit_state(method_state, "age", wiring)
        return {name: summarize(reduce(jnp.minimum, counts), statistic) for name, counts in ages.items()}

    return measure
