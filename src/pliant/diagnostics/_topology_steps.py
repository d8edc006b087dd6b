"""Topology steps: how often a sparse network has changed which weights there are."""

from typing import Any

import jax

from pliant.core.base import Array
from pliant.core.diagnostic import Diagnostic, networks
from pliant.core.units import Wiring


def topology_steps(wiring: Wiring) -> Diagnostic:
    """Number of steps so far at which methods changed which weights there are, and of all methods together.

    It is read from the fields `topology_steps` of the methods' states, next to the fields `mask` that say whose weights
    they are. An agent with several networks has a row for each of them; the counts of several methods on one network
    add up. The row `""` counts each step once, also where a method changes two networks at a time. Without a method
    that masks weights there are no rows.

    Args:
        wiring: whose weights to look at.

    Signals:
        method_state: the state of the optimizer that `plastic` made.
    """
    paths = {slot.path for group in wiring.values() for slot in (*group.incoming, *group.outgoing)}

    def counts(state: Any) -> bool:
        return isinstance(getattr(state, "mask", None), dict) and hasattr(state, "topology_steps")

    def measure(*, method_state: Any, **signals) -> dict[str, Array]:
        del signals
        states = [state for state in jax.tree.leaves(method_state, is_leaf=counts) if counts(state)]
        states = [state for state in states if paths & state.mask.keys()]
        names = networks(path for state in states for path in state.mask)
        rows = {name: sum(s.topology_steps for s in states if name in networks(s.mask, 1)) for name in names}
        return {**rows, "": sum(state.topology_steps for state in states)} if states else {}

    return measure
