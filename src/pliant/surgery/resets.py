"""Resets of whole layers: which leaves make up a layer, and how they are reset."""

from collections.abc import Callable, Collection
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from pliant.core import units
from pliant.core.base import Edit, Key, Params
from pliant.core.units import Group, Wiring

Initialize: TypeAlias = Callable[[Key], Params]  # the network's initial parameters; the key is consumed


def layer(group: Group) -> set[str]:
    """Paths of the leaves of a hidden layer: the weights that produce its units, with their biases and norms."""
    return {slot.path for slot in (*group.incoming, *group.vectors)}


def head(wiring: Wiring) -> set[str]:
    """Paths of the leaves of the output layer: the weights that read hidden units and feed none, and their biases.

    A network with several outputs has all their layers in its head.

    Raises:
        ValueError: if there is no such weight.
    """
    feeding = {slot.path for group in wiring.values() for slot in group.incoming}
    readers = [r for group in wiring.values() for r in group.outgoing if r.path not in feeding]
    if not readers:
        raise ValueError(
            "this wiring has no head: no weight reads hidden units without feeding others; "
            "reset layers by name (layer_reset) or the whole network (full_reset)"
        )
    return {r.path for r in readers} | {r.bias for r in readers if r.bias is not None}


def last_layers(wiring: Wiring, count: int) -> set[str]:
    """Paths of the leaves of the last layers: 1 is the head, 2 the head and the layers that it reads, and so on.

    Raises:
        ValueError: if the count is below 1, or the wiring has no head.
    """
    if count < 1:
        raise ValueError(f"last:{count}: the number of layers is at least 1; write last:1 for the head alone")
    leaves = head(wiring)
    for _ in range(count - 1):
        read = [group for group in wiring.values() if any(r.path in leaves for r in group.outgoing)]
        leaves = leaves.union(*map(layer, read))
    return leaves


def set_back(params: Params, source: Params, paths: Collection[str] | None = None) -> Edit:
    """Replaces leaves by those of another tree, as fresh weights; running statistics stay.

    Args:
        params: the parameters.
        source: a tree like them, such as initial parameters of the network.
        paths: which leaves, their keys joined by slashes; `None`: all weights.

    Returns:
        The edited parameters, and masks of the replaced leaves.

    Raises:
        ValueError: if the source is not a tree like the parameters, or the parameters lack one of the paths.
    """
    missing = set(paths or ()) - set(units.leaves(params))
    if missing:
        raise ValueError(
            f"a layer to be reset has a parameter {min(missing)!r}, but the parameters are: "
            f"{', '.join(units.leaves(params))}; put optax.masked and optax.partition inside of plastic"
        )
    if jax.tree.map(jnp.shape, params) != jax.tree.map(jnp.shape, source):
        raise ValueError(
            "initialize returned other leaves than those of the parameters "
            f"({_shapes(source)} for {_shapes(params)}); pass the initializer of this network, key -> params"
        )

    def chosen(keys: Any) -> bool:
        path = units.path_of(keys)
        return (paths is None or path in paths) and not units.is_statistic(path)

    def pick(keys: Any, leaf: Any, new: Any) -> Any:
        return jnp.asarray(new, leaf.dtype) if chosen(keys) else leaf

    return Edit(
        jax.tree_util.tree_map_with_path(pick, params, source),
        jax.tree_util.tree_map_with_path(lambda keys, w: jnp.full((1,) * jnp.ndim(w), chosen(keys)), params),
    )


def _shapes(tree: Params) -> str:
    return ", ".join(f"{path} {jnp.shape(leaf)}" for path, leaf in units.leaves(tree).items())
