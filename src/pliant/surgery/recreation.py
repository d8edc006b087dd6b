"""Units made anew: which of a group, from what random numbers, and how they are written into the weights."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core.base import Array, Edit, Key, Params
from pliant.core.units import Group, Slot, Wiring, find, leaves, positions, replace_leaves

from .initializers import Activation, Initializer, uniform_bound

_FEW = 4  # up to so many units are written one by one into a large leaf, more by a pass over it
_SMALL = 4096  # entries: a pass over a smaller leaf fuses with the optimizer's step and is cheaper still

Chosen = dict[str, Array]  # group -> (most,) indices of units; `group.units` (one past the last) stands for none
Rows = dict[str, tuple[Array, ...]]  # group -> for each incoming weight its leaf's shape with `most` units, in (-1, 1)


def lowest(values: Array, *, where: Array, count: Array, most: int) -> Array:
    """Indices of the units of lowest value.

    Args:
        values: `(units,)`.
        where: `(units,)` bool, the units to choose among.
        count: `()` int, how many are wanted.
        most: how many there can be at the most, known when compiling.

    Returns:
        `(most,)` int: the `count` units of lowest value, the lowest first; `units`, which is no unit, fills the rest.
    """
    units = values.shape[0]
    masked = jnp.where(where, values, jnp.inf)
    # argmin costs a fraction of a sort, and one unit a step is all that published runs ask for.
    order = jnp.argmin(masked)[None] if most == 1 else jax.lax.top_k(-masked, most)[1]
    wanted = (jnp.arange(most) < count) & where[order]
    return jnp.where(wanted, order, units).astype(jnp.int32)


def is_chosen(chosen: Array, units: int) -> Array:
    """`(units,)` bool: which units are among the chosen `(most,)`."""
    return (jnp.arange(units)[:, None] == chosen[None]).any(1)


def draw_rows(key: Key, params: Params, wiring: Wiring, most: int | None = None, steps: int = 1) -> Rows:
    """Draws fresh incoming weights, uniform in (-1, 1), for the units that `recreate` may make anew at each step.

    Args:
        key: consumed.
        params: only their shapes and types are read.
        wiring: the groups.
        most: for how many units a group; `None`: for all.
        steps: for how many steps.

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
    # One flat draw for all (XLA's generator is five times slower on two axes), and two weights from each word of random
    # bits: a fresh weight needs no more than 16.
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
    initializer: Initializer = "kaiming",
    activation: Activation = "relu",
) -> Edit:
    """Makes units anew: fresh incoming weights, neutral biases and norms, zero outgoing weights.

    Incoming weights of all groups are written before outgoing weights of any, so that a fresh unit reads nothing from
    another fresh unit, and no output changes by more than what the old units contributed. Where few units of a large
    layer can be chosen only their rows are touched: the cost does not grow with the layer.

    Args:
        params: the parameters.
        wiring: the groups.
        chosen: for each group to be edited, the units to make anew.
        rows: what `draw_rows` drew, for at least as many units.
        initializer, activation: the distribution of the fresh incoming weights; see `uniform_bound`.

    Returns:
        The edited parameters, and where they are fresh.
    """
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
            fan_in = slot.fan_in or leaf.size // leaf.shape[slot.axis]
            fan_out = slot.fan_out or leaf.shape[slot.axis]
            write(slot, group, row * uniform_bound(initializer, activation, fan_in, fan_out))
    for group in groups:
        for vector in group.vectors:
            write(vector, group, vector.neutral)
        for reader in group.outgoing:
            write(reader, group, 0.0)

    untouched = {path: jnp.zeros((1,) * jnp.ndim(leaf), bool) for path, leaf in by_path.items()}
    return Edit(replace_leaves(params, by_path), replace_leaves(params, untouched | masks))


def _write(leaf: Array, slot: Slot, units: int, chosen: Array, values: Array) -> Array:
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


def _mask(leaf: Array, slot: Slot, units: int, chosen: Array) -> Array:
    """Which entries of a leaf the chosen units own, broadcastable to it."""
    owner, _ = _owner(_table(slot, units), leaf.shape[slot.axis])
    mask = is_chosen(chosen, units)
    if slot.indices is not None or units != len(owner):
        mask = mask[owner] & (owner >= 0)
    return jnp.expand_dims(mask, [axis for axis in range(leaf.ndim) if axis != slot.axis])


def _table(slot: Slot, units: int) -> np.ndarray:
    """The entries along the slot's axis that each unit owns, `(positions, units)`."""
    return np.arange(units)[None] if slot.indices is None else slot.indices


def _owner(table: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """For each entry of an axis: the unit that owns it, -1 for none, and which of the unit's positions it is."""
    owner, position = np.full(length, -1), np.zeros(length, int)
    owner[table] = np.arange(table.shape[1])
    position[table] = np.arange(table.shape[0])[:, None]
    return owner, position
