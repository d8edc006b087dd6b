"""Unit age: how long ago the units were made."""

from functools import reduce
from typing import Any, get_args

import jax.numpy as jnp

from pliant.core.base import Array
from pliant.core.diagnostic import Diagnostic, Statistic, summarize, unit_state
from pliant.core.settings import require_one_of
from pliant.core.units import Wiring


def unit_age(wiring: Wiring, *, statistic: Statistic = "mean") -> Diagnostic:
    """Age of the units of each group, in steps since a plasticity method made them.

    It is read from the fields `age` of the methods' states; without a method that counts ages there are no rows. Where
    several methods make the units of one group anew, a unit is as old as the youngest of its counts.

    Args:
        wiring: whose units to measure.
        statistic: what to report of the units of a group: `mean`, `median`, `min` or `max`.

    Signals:
        method_state: the state of the optimizer that `plastic` made. A method under `every` counts the steps at which
            it acts.

    Raises:
        ValueError: for an unknown statistic.
    """
    require_one_of("statistic", statistic, get_args(Statistic))

    def measure(*, method_state: Any, **signals) -> dict[str, Array]:
        del signals
        ages = unit_state(method_state, "age", wiring)
        return {name: summarize(reduce(jnp.minimum, counts), statistic) for name, counts in ages.items()}

    return measure
