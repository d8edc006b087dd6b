"""Finds the state of weights in the state of any optax optimizer, and resets it.

Optimizers keep copies of the parameter tree in their state: moments, step counts, initial weights. Such a copy is
recognized by its structure. `optax.masked` and `optax.partition` leave `optax.MaskedNode` in place of the parameters
that another optimizer steps; a copy may have it at any place.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

_Tree = Any
_Mask = Any  # an array, broadcastable to its leaf


def reset(optimizer: optax.GradientTransformation, opt_state: Any, params: _Tree, fresh: _Tree) -> Any:
    """The optimizer's state with its initial value where a weight is fresh.

    State with another shape than the weights (a factored second moment) is shared between weights, and stays.

    Args:
        optimizer: whose state it is.
        opt_state: the state.
        params: the parameters, fresh weights included.
        fresh: like the parameters, bool, each broadcastable to its leaf.
    """
    return _map_copies(
        lambda leaf, initial, mask: jnp.where(mask, initial, leaf), opt_state, optimizer.init(params), params, fresh
    )


def reset_counts(optimizer: optax.GradientTransformation, opt_state: Any, params: _Tree, mask: _Tree) -> Any:
    """The optimizer's state with the per-weight counts of steps, its only integers, reset where the mask is true.

    Args:
        optimizer: whose state it is.
        opt_state: the state.
        params: the parameters.
        mask: like the parameters, bool, each broadcastable to its leaf.

    Raises:
        ValueError: for an optimizer without such counts.
    """
    found: list[Any] = []

    def with_counts_reset(leaf: Any, initial: Any, where: _Mask) -> Any:
        if not jnp.issubdtype(leaf.dtype, jnp.integer):
            return leaf
        found.append(leaf)
        return jnp.where(where, initial, leaf)

    opt_state = _map_copies(with_counts_reset, opt_state, optimizer.init(params), params, mask)
    if not found:
        raise ValueError(
            "a method resets the step counts of some weights, but this optimizer has one count for all weights; "
            "write pliant.adam (per_weight_adam), or turn that setting of the method off"
        )
    return opt_state


def _map_copies(
    function: Callable[[Any, Any, _Mask], Any], opt_state: Any, initial: Any, params: _Tree, masks: _Tree
) -> Any:
    """The state with `function(leaf, initial leaf, mask)` in place of each leaf with one entry per weight."""

    def of_node(start: Any, node: Any) -> Any:
        if not _is_copy(start, params):
            return node
        starts, structure = jax.tree.flatten(start, is_leaf=_is_masked)
        rows = zip(*map(structure.flatten_up_to, (node, params, masks)), starts, strict=True)
        return structure.unflatten(
            function(leaf, start, mask) if _is_of(param, leaf) else leaf for leaf, param, mask, start in rows
        )

    return jax.tree.map(of_node, initial, opt_state, is_leaf=lambda node: _is_copy(node, params))


def _is_of(param: Any, leaf: Any) -> bool:
    """Whether a leaf of a copy has one entry for each entry of its parameter."""
    return not _is_masked(leaf) and jnp.shape(leaf) == jnp.shape(param)


def _is_copy(node: Any, params: _Tree) -> bool:
    """Whether a node of the state has the structure of the parameters, apart from masked parameters."""
    if jax.tree_util.all_leaves([params]) and jnp.ndim(params) == 0:
        return False  # a single number: its copies and the optimizer's own numbers look the same
    leaves, structure = jax.tree.flatten(node, is_leaf=_is_masked)
    try:
        subtrees = structure.flatten_up_to(params)
    except ValueError:
        return False
    return all(_is_masked(leaf) or jax.tree_util.all_leaves([tree]) for leaf, tree in zip(leaves, subtrees))


def _is_masked(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)
