"""Unit utility: what the units are worth to the method that renews them."""

from typing import Any, get_args

from pliant.core.base import Array
from pliant.core.diagnostic import Diagnostic, Statistic, summarize, unit_state
from pliant.core.settings import require_one_of
from pliant.core.units import Wiring


def unit_utility(wiring: Wiring, *, statistic: Statistic = "mean") -> Diagnostic:
    """Utility of the units of each group, as the plasticity method keeps it.

    It is read from the fields `utility` of the methods' states; without a method that rates units there are no rows.
    Its meaning is the method's: that of continual backpropagation is a running average, not corrected for a unit's age.

    Args:
        wiring: whose units to measure.
        statistic: what to report of the units of a group: `mean`, `median`, `min` or `max`.

    Signals:
        method_state: the state of the optimizer that `plastic` made.

    Raises:
        ValueError: for an unknown statistic; when measuring, if two methods rate the units of one group.
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
