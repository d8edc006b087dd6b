"""Finds the carry of a recurrent network that is traced along one step.

A carry comes out of the network and goes in again, so both ends run over the same units. Along one step nothing says
so: the weights that read the carry seem to read an input, and the group lacks them. Along two steps the carry of the
first is what the second reads.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from .labels import Term, atoms, of_slices
from .values import Value

Label = Callable[[Term], Term]


class Carries:
    """Compares what comes out of a network with what goes in.

    Args:
        label: gives the final label of an axis.
        units: the atoms of hidden units.
        read: the atoms along which weights read inputs alone, and no units.
    """

    def __init__(self, label: Label, units: set[Any], read: set[Any]):
        self._label = lambda term: of_slices(label(term))
        self._units = units
        self._read = read

    def unread(self, inputs: tuple[Any, ...], output: Any) -> list[Term]:
        """The labels of units that come out as a carry whose readers are unknown.

        Args:
            inputs: the arguments, trees of `Value`.
            output: what the network returns, a tree of `Value`.
        """
        if sum(self._is_read(value) for value in jax.tree.leaves(inputs)) < 2:
            return []  # one input: nothing is carried along
        closed: set[int] = set()
        found: list[Term] = []
        for node in _subtrees(output):
            leaves = jax.tree.leaves(node)
            candidates = [tree for argument in inputs for tree in _subtrees(argument) if _alike(tree, node)]
            ends = [list(zip(jax.tree.leaves(tree), leaves, strict=True)) for tree in candidates]
            if any(all(self._is_closed(*pair) for pair in pairs) for pairs in ends):
                closed |= {id(value) for value in leaves}
            elif not all(id(value) in closed for value in leaves):
                found += [term for pairs in ends for pair in pairs for term in self._open(*pair)]
        return found + self._unread_arrays(inputs, output)

    def _unread_arrays(self, inputs: tuple[Any, ...], output: Any) -> list[Term]:
        """The same for carries that are arguments of their own: as many go in as come out."""
        arrays = [value for value in inputs if isinstance(value, Value)]
        returned = {
            id(value): value for value in _children(output) if isinstance(value, Value) and self._has_units(value)
        }
        found = []
        for value in returned.values():
            ins, outs = ([other for other in of if _alike(other, value)] for of in (arrays, returned.values()))
            if sum(self._is_closed(other, value) for other in ins) < sum(
                self._is_closed(other, value) for other in outs
            ):
                found += [term for other in ins for term in self._open(other, value)]
        return found

    def _open(self, goes_in: Value, comes_out: Value) -> list[Term]:
        """The labels of units that come out, where weights read what goes in as a mere input."""
        return [end for start, end in self._unit_axes(goes_in, comes_out) if not self._read.isdisjoint(atoms(start))]

    def _is_closed(self, goes_in: Value, comes_out: Value) -> bool:
        pairs = self._unit_axes(goes_in, comes_out)
        return all(start == end and self._read.isdisjoint(atoms(start)) for start, end in pairs)

    def _unit_axes(self, goes_in: Value, comes_out: Value) -> list[tuple[Term, Term]]:
        """The labels of both at each axis of units that come out."""
        pairs = [(self._label(a), self._label(b)) for a, b in zip(goes_in.axes, comes_out.axes, strict=True)]
        return [(start, end) for start, end in pairs if not self._units.isdisjoint(atoms(end))]

    def _has_units(self, value: Value) -> bool:
        return bool(self._unit_axes(value, value))

    def _is_read(self, value: Value) -> bool:
        return any(not self._read.isdisjoint(atoms(self._label(term))) for term in value.axes)


def _children(tree: Any) -> list[Any]:
    return jax.tree.leaves(tree, is_leaf=lambda node: node is not tree)


def _subtrees(tree: Any) -> Iterator[Any]:
    """A tree and all trees in it, the larger ones first."""
    yield tree
    if not isinstance(tree, Value):
        for child in _children(tree):
            yield from _subtrees(child)


def _alike(a: Any, b: Any) -> bool:
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        x.shape == y.shape and _kind(x) == _kind(y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def _kind(value: Value) -> Any:
    """What an array is made of: a carry may come out in another precision than it goes in."""
    if value.variable is None:
        return None  # a number
    dtype = value.variable.aval.dtype
    return jnp.inexact if jnp.issubdtype(dtype, jnp.inexact) else dtype
