"""Reinitializing units: which units of a group, from which random numbers, and how the weights are written."""

import dataclasses
import math
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from pliant.core.base import Activation, Array, Edit, FreshInitializer, Initializer, Key, Params
from pliant.core.units import Group, Outgoing, Slot, Wiring, fans, find, leaves, mask_leaves, positions, replace_leaves

from .initializers import from_uniform

_FEW = 4  # up to this many units are written one by one into a large leaf, more by a pass over the leaf
_SMALL = 4096  # entries: a pass over a smaller leaf fuses with the optimizer's step, which is cheaper still

Chosen: TypeAlias = dict[
    str, Int[Array, " most"]
]  # group -> (most,) indices of units; `group.units` (one past the last) means none
Rows: TypeAlias = dict[
    str, tuple[Float[Array, "..."], ...]
]  # group -> per incoming weight: its leaf with `most` units, in (-1, 1)


def lowest(
    values: Float[Array, " units"], *, where: Bool[Array, " units"], count: Int[Array, ""], most: int
) -> Int[Array, " {most}"]:
    """Indices of the units of lowest value.

    Args:
        values: `(units,)`.
        where: `(units,)` bool, the units to choose among.
        count: `()` int, how many units to choose.
        most: the largest possible count, static.

    Returns:
        `(most,)` int: the `count` units of lowest value, the lowest first. The rest is filled with `units`, one past
        the last unit.
    """
    units = values.shape[0]
    masked = jnp.where(where, values, jnp.inf)
    # argmin costs a fraction of a sort, and published runs replace at most one unit a step.
    order = jnp.argmin(masked)[None] if most == 1 else jax.lax.top_k(-masked, most)[1]
    wanted = (jnp.arange(most) < count) & where[order]
    return jnp.where(wanted, order, units).astype(jnp.int32)


def is_chosen(chosen: Int[Array, " most"], units: int) -> Bool[Array, " {units}"]:
    """`(units,)` bool: which units are among the chosen `(most,)`."""
    return (jnp.arange(units)[:, None] == chosen[None]).any(1)


def draw_rows(key: Key, params: Params, wiring: Wiring, most: int | None = None, steps: int = 1) -> Rows:
    """Draws numbers for the fresh incoming weights that `recreate` may write at each step, uniform in (-1, 1).

    Args:
        key: consumed.
        params: only shapes and types are read.
        wiring: the groups.
        most: number of units per group; `None`: all.
        steps: number of steps.

    Returns:
        For each group, and each of its incoming weights, `(steps, *shape)`: the leaf's shape with `most` units along
        the slot's axis.
    """
    by_path = leaves(params)
    shapes = {}
    for name, group in wiring.items():
        count = group.units if most is None else min(most, group.units)
        shapes[name] = tuple(_row_shape(find(by_path, slot).shape, slot, count) for slot in group.incoming)
    total = sum(math.prod(shape) for of_group in shapes.values() for shape in of_group)
    # One flat draw, because XLA's generator is five times slower on two axes. Each word of 32 random bits gives two
    # weights: 16 bits suffice for a fresh weight.
    words = jax.random.bits(key, ((steps * total + 1) // 2,), jnp.uint32)
    halves = jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(-1)[: steps * total].astype(jnp.float32)
    numbers = ((halves + 0.5) / 2**15 - 1).reshape(steps, total)
    rows, end = {}, 0
    for name, of_group in shapes.items():
        rows[name] = ()
        for shape in of_group:
            start, end = end, end + math.prod(shape)
            rows[name] += (numbers[:, start:end].reshape(steps, *shape),)
    return rows


def _row_shape(shape: tuple[int, ...], slot: Slot, count: int) -> tuple[int, ...]:
    return (*shape[: slot.axis], positions(slot) * count, *shape[slot.axis + 1 :])


def recreate(
    params: Params,
    wiring: Wiring,
    chosen: Chosen,
    rows: Rows,
    initializer: FreshInitializer = "network",
    activation: Activation = "relu",
) -> Edit:
    """Reinitializes units: fresh incoming weights, neutral biases and norms, zero outgoing weights.

    Incoming weights of all groups are written before outgoing weights of any group. So a fresh unit reads nothing from
    another fresh unit, and the output changes by the contribution of the old units alone. Where few units of a large
    layer can be chosen, only their rows are written: the cost does not grow with the layer.

    A weight that both makes and reads the units is drawn and not set to zero: with incoming weights of zero the units
    would be dead. Through such tied weights (`relu(x @ w) @ w.T`, an embedding tied to logits) fresh units change the
    output.

    Args:
        params: the parameters.
        wiring: the groups.
        chosen: for each group to be edited, the units to reinitialize.
        rows: numbers from `draw_rows`, for at least as many units.
        initializer, activation: the distribution of the fresh incoming weights, see `from_uniform`; `network` is the
            wiring's initializer.

    Returns:
        The edited parameters, and masks of the fresh weights.
    """
    drawn_by: Initializer = wiring.initializer if initializer == "network" else initializer
    by_path = leaves(params)
    masks: dict[str, Array] = {}

    def write(slot: Slot, group: Group, values: Array | float) -> None:
        leaf = find(by_path, slot)
        by_path[slot.path] = _write(leaf, slot, group.units, chosen[group.name], jnp.asarray(values, leaf.dtype))
        mask = _mask(leaf, slot, group.units, chosen[group.name])
        masks[slot.path] = masks[slot.path] | mask if slot.path in masks else mask

    groups = [wiring[name] for name in chosen]
    for group in groups:
        for slot, row in zip(group.incoming, rows[group.name], strict=True):
            leaf = find(by_path, slot)
            write(slot, group, from_uniform(row, drawn_by, activation, *fans(leaf.shape, slot)))
    for group in groups:
        for vector in group.vectors:
            write(vector, group, vector.neutral)
        for reader in group.outgoing:
            if (untied := _untied(reader, group)) is not None:
                write(untied, group, 0.0)

    return Edit(replace_leaves(params, by_path), mask_leaves(params, masks))


def _write(
    leaf: Shaped[Array, "*shape"], slot: Slot, units: int, chosen: Int[Array, " most"], values: Shaped[Array, "..."]
) -> Shaped[Array, "*shape"]:
    """Sets the entries of the chosen units: to one value `()`, or to `values` with the chosen units along the axis."""
    most, length = chosen.shape[0], leaf.shape[slot.axis]
    before = (slice(None),) * slot.axis
    table = _table(slot, units)
    each = len(table)
    if most <= _FEW and leaf.size > _SMALL:
        # Unit by unit: each is an update in place, whatever the size of the leaf. "No unit" lies past the end and is
        # dropped.
        table = jnp.asarray(np.pad(table, ((0, 0), (0, 1)), constant_values=length))
        for j in range(most):
            # A scalar index where it can be: XLA turns it into a slice update, many times faster than a scatter.
            entries = table[0, chosen[j]] if each == 1 else table[:, chosen[j]]
            of_unit = j if each == 1 else j + most * np.arange(each)
            value = values if values.ndim == 0 else values[(*before, of_unit)]
            leaf = leaf.at[(*before, entries)].set(value, mode="drop")
        return leaf
    if values.ndim:
        rank = jnp.argmax(jnp.arange(units)[:, None] == chosen[None], axis=1)  # (units,): which of the chosen it is
        owner, position = _owner(table, length)
        values = values[(*before, rank[owner] + most * position)]
    return jnp.where(_mask(leaf, slot, units, chosen), values, leaf)


def _mask(leaf: Shaped[Array, "..."], slot: Slot, units: int, chosen: Int[Array, " most"]) -> Bool[Array, "..."]:
    """Which entries of a leaf the chosen units own, broadcastable to it."""
    owner, _ = _owner(_table(slot, units), leaf.shape[slot.axis])
    mask = is_chosen(chosen, units)
    if slot.indices is not None or units != len(owner):
        mask = mask[owner] & (owner >= 0)
    return jnp.expand_dims(mask, [axis for axis in range(leaf.ndim) if axis != slot.axis])


def _untied(reader: Outgoing, group: Group) -> Outgoing | None:
    """The entries of an outgoing weight that are not incoming weights as well; `None` if there are none."""
    tied = [slot for slot in group.incoming if (slot.path, slot.axis) == (reader.path, reader.axis)]
    if not tied:
        return reader
    table, made = _table(reader, group.units), np.concatenate([_table(slot, group.units) for slot in tied])
    kept = [entries for entries in table if not (entries == made).any()]
    if len(kept) == len(table):
        return reader
    return dataclasses.replace(reader, indices=np.stack(kept)) if kept else None


def _table(slot: Slot, units: int) -> Int[np.ndarray, "positions {units}"]:
    """The entries along the slot's axis that each unit owns, `(positions, units)`."""
    return np.arange(units)[None] if slot.indices is None else slot.indices


def _owner(
    table: Int[np.ndarray, "positions units"], length: int
) -> tuple[Int[np.ndarray, " {length}"], Int[np.ndarray, " {length}"]]:
    """For each entry of an axis: the unit that owns it, -1 for none, and which of the unit's positions it is."""
    owner, position = np.full(length, -1), np.zeros(length, int)
    owner[table] = np.arange(table.shape[1])
    position[table] = np.arange(table.shape[0])[:, None]
    return owner, position
