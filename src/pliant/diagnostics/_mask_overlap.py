"""Mask overlap: how much of a sparse network's topology is still what it was."""

from typing import Any, Literal, TypeAlias, get_args

import jax.numpy as jnp
import optax

from pliant.core.base import Array
from pliant.core.diagnostic import Diagnostic
from pliant.core.settings import require_one_of
from pliant.core.units import Wiring

Since: TypeAlias = Literal["initial", "previous"]


def mask_overlap(wiring: Wiring, *, since: Since = "initial") -> Diagnostic:
    r"""Fraction of the weights that there were once that are there now, for each leaf with a mask, and of all together.

    $\lvert M_t \cap M_{t'} \rvert / \lvert M_{t'} \rvert$: weights that were added since do not matter. Rows are named
    after the paths of leaves. It is read from the fields `mask`, `initial_mask` and `previous_mask` of the methods'
    states; without a method that masks weights there are no rows.

    Args:
        wiring: whose weights to look at.
        since: $t'$: the `initial` mask, or the `previous` one, before the last change of the topology.

    Signals:
        method_state: the state of the optimizer that `plastic` made.

    Raises:
        ValueError: for another choice of the earlier mask.
    """
    require_one_of("since", since, get_args(Since))
    slots = [slot for group in wiring.values() for slot in (*group.incoming, *group.outgoing)]
    paths = list(dict.fromkeys(slot.path for slot in slots))

    def measure(*, method_state: Any, **signals) -> dict[str, Array]:
        del signals
        now, before = _masks(method_state, "mask"), _masks(method_state, f"{since}_mask")
        found = [path for path in paths if path in now and path in before]
        if not found:
            return {}
        kept = {path: (now[path] & before[path]).sum(dtype=jnp.int32) for path in found}
        were = {path: before[path].sum(dtype=jnp.int32) for path in found}
        kept, were = {**kept, "": sum(kept.values())}, {**were, "": sum(were.values())}
        return {path: kept[path].astype(jnp.float32) / were[path].astype(jnp.float32) for path in kept}

    return measure


def _masks(method_state: Any, field: str) -> dict[str, Array]:
    """What the methods keep in a field for each leaf; where several mask the same leaf, what all of them let be."""
    found: dict[str, Array] = {}
    for _, by_path in optax.tree.get_all_with_path(method_state, field):
        for path, mask in by_path.items() if isinstance(by_path, dict) else ():
            if getattr(mask, "dtype", None) == jnp.bool:
                found[path] = found[path] & mask if path in found else mask
    return found
