"""Mask overlap: the part of a sparse network's earlier topology that is left."""

from typing import Any, Literal, TypeAlias, get_args

import jax.numpy as jnp

from pliant.core.base import Array
from pliant.core.diagnostic import Diagnostic, states_with_masks
from pliant.core.settings import require_one_of
from pliant.core.units import Wiring

Since: TypeAlias = Literal["initial", "previous"]


def mask_overlap(wiring: Wiring, *, since: Since = "initial") -> Diagnostic:
    r"""Fraction of the earlier weights that are present now, for each masked leaf, and (row `""`) for all of them.

    $\lvert M_t \cap M_{t'} \rvert / \lvert M_{t'} \rvert$: weights added since do not count. Rows are named after the
    paths of leaves. The fields `mask`, `initial_mask` and `previous_mask` of the methods' states are read; a mask
    without the latter two never changes. Without a method that masks weights there are no rows.

    Args:
        wiring: whose weights.
        since: $t'$: the `initial` mask, or the `previous` mask, before the last topology step.

    Signals:
        method_state: the state of the transformation that `plastic` returned.

    Raises:
        ValueError: for another choice of the earlier mask.

    Example:
        >>> import jax, numpy as np, optax, pliant
        >>> from pliant.diagnostics import mask_overlap
        >>> wiring = pliant.Wiring(
        ...     {"h": pliant.Group("h", 2, (pliant.Incoming("in", 1),), (), (pliant.Outgoing("out", 0, feature="h"),))}
        ... )
        >>> params = {"in": np.ones((3, 2)), "out": np.ones((2, 1))}
        >>> tx = pliant.plastic(optax.sgd(0.1), pliant.neuroplastic_expansion(wiring, initial_sparsity=0.5))
        >>> state = jax.jit(tx.init)(params)
        >>> float(jax.jit(mask_overlap(wiring))(method_state=state)[""])
        1.0
    """
    require_one_of("since", since, get_args(Since))
    slots = [slot for group in wiring.values() for slot in (*group.incoming, *group.outgoing)]
    paths = list(dict.fromkeys(slot.path for slot in slots))

    def measure(*, method_state: Any, **signals) -> dict[str, Array]:
        del signals
        now, before = _masks(method_state, since)
        found = [path for path in paths if path in now]
        if not found:
            return {}
        kept = {path: (now[path] & before[path]).sum(dtype=jnp.int32) for path in found}
        were = {path: before[path].sum(dtype=jnp.int32) for path in found}
        kept, were = {**kept, "": sum(kept.values())}, {**were, "": sum(were.values())}
        return {path: kept[path].astype(jnp.float32) / were[path].astype(jnp.float32) for path in kept}

    return measure


def _masks(method_state: Any, since: Since) -> tuple[dict[str, Array], dict[str, Array]]:
    """The masks now and earlier, by path; where several methods mask one leaf, the weights that all of them keep."""
    now: dict[str, Array] = {}
    before: dict[str, Array] = {}
    for state in states_with_masks(method_state):
        earlier = getattr(state, f"{since}_mask", state.mask)
        for path, mask in state.mask.items():
            now[path] = now.get(path, True) & mask
            before[path] = before.get(path, True) & earlier[path]
    return now, before
