"""Looks up the states of methods in the state of a training loop's optimizer."""

import operator
from collections.abc import Iterator
from functools import reduce
from typing import Any

import jax
import optax

from .base import Array
from .plastic import PlasticState


def state_of(state: Any, method: str, number: int | None = None) -> Any:
    """The state of one method: ages and utilities of units, masks, initial weights.

    Args:
        state: the state of `plastic`, or a tree with it, such as the state of `optax.chain`.
        method: the method's name, `continual_backprop`; its state is an object of the class
            `ContinualBackpropState`.
        number: index of the state, from 0, if the method has several; `None` if it has one.

    Returns:
        The method's state, a named tuple.

    Raises:
        ValueError: if there is no such state, or there are several and no number.

    Example:
        >>> import jax, numpy as np, optax, pliant
        >>> params = {"in": np.ones((3, 4)), "out": np.ones((4, 1))}
        >>> tx = pliant.plastic(optax.adam(1e-3), pliant.l2_init(1e-3), pliant.l2(1e-4))
        >>> state = jax.jit(tx.init)(params)
        >>> pliant.state_of(state, "l2_init").initial["out"].shape
        (4, 1)
    """
    name = "".join(word.capitalize() for word in method.split("_")) + "State"
    states = [each for each in _named(state) if type(each).__name__ == name]
    if len(states) == 1 and number is None:
        return states[0]
    if not states:
        there = dict.fromkeys(type(each).__name__ for each in _named(state))
        raise ValueError(
            f"no method in this state is called {method!r}: none has a {name}; there are: {', '.join(there) or 'none'}"
        )
    if number is None or not -len(states) <= number < len(states):
        raise ValueError(
            f"there are {len(states)} states of {method}; write state_of(state, {method!r}, number) with a number from "
            f"0 to {len(states) - 1}"
        )
    return states[number]


def replacements(state: Any) -> dict[str, Array]:
    """The number of units reinitialized so far, `{group: ()}`, summed over the methods.

    Args:
        state: the state of `plastic`, or a tree with it.

    Example:
        >>> import jax, numpy as np, optax, pliant
        >>> params = {"in": np.ones((3, 4)), "out": np.ones((4, 1))}
        >>> wiring = pliant.trace(lambda w, x: jax.nn.relu(x @ w["in"]) @ w["out"], params, np.ones((8, 3)))
        >>> tx = pliant.plastic(optax.adam(1e-3), pliant.redo(wiring), pliant.continual_backprop(wiring))
        >>> {group: int(count) for group, count in pliant.replacements(jax.jit(tx.init)(params)).items()}
        {'in': 0}
    """
    counts: dict[str, list[Array]] = {}
    for _, by_group in optax.tree.get_all_with_path(state, "replaced"):
        for group, count in by_group.items():
            counts.setdefault(group, []).append(count)
    return {group: reduce(operator.add, of_group) for group, of_group in counts.items()}


def _named(state: Any) -> Iterator[Any]:
    """The named tuples in the states of methods, outer ones first."""
    for plastic in _nodes(state, PlasticState):
        for kept in (*plastic.before, *plastic.after):
            yield from _nodes(kept, tuple)


def _nodes(tree: Any, kind: type) -> Iterator[Any]:
    """The nodes of one kind, outer ones first; of tuples only named tuples."""

    def is_found(node: Any) -> bool:
        return isinstance(node, kind) and (kind is not tuple or hasattr(node, "_fields"))

    for node in jax.tree.leaves(tree, is_leaf=is_found):
        if is_found(node):
            yield node
            yield from (inner for part in node for inner in _nodes(part, kind))
