"""Replacements: how many units have been made anew so far."""

from typing import Any

from pliant.core.base import Array
from pliant.core.diagnostic import Diagnostic, group_state
from pliant.core.units import Wiring


def replacements(wiring: Wiring) -> Diagnostic:
    """Number of units of each group that plasticity methods have made anew so far, and of all groups together.

    It is read from the fields `replaced` of the methods' states, which count from the start of training; counts of
    several methods add up. Without a method that makes units anew there are no rows.

    Args:
        wiring: whose units to count.

    Signals:
        method_state: the state of the optimizer that `plastic` made.
    """

    def measure(*, method_state: Any, **signals) -> dict[str, Array]:
        del signals
        counts = {name: sum(found) for name, found in group_state(method_state, "replaced", wiring).items()}
        return {**counts, "": sum(counts.values())} if counts else {}

    return measure
