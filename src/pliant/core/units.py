"""Groups of hidden units, where their weights lie, and how units are made anew.

A *group* is a set of hidden units that some weights produce and some weights read: the hidden layer of an MLP, the
channels of a convolution, the residual stream that several convolutions share. A `Wiring` lists the groups of one
network; `pliant.trace` finds it, or it is written by hand:

    Wiring({
        "hidden": Group(
            "hidden",
            units=5,
            incoming=(Incoming("hidden/kernel", axis=1),),
            vectors=(Vector("hidden/bias", axis=0, neutral=0.0),),
            outgoing=(Outgoing("out/kernel", axis=0, feature="hidden", bias="out/bias"),),
        )
    })

Every method and every diagnostic works on the groups alone: none knows what a layer is.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .base import Array, Edit, Features, Key, Params
from .initializers import Activation, Initializer, uniform_bound


@dataclasses.dataclass(frozen=True, eq=False)
class Slot:
    """Where the units of a group lie along one axis of one parameter leaf.

    Args:
        path: the leaf, its keys joined by slashes: `params/Dense_0/kernel`.
        axis: the axis of the leaf along which the units lie.
        indices: which entries along `axis` each unit owns, `(positions, units)`; `None` where unit `i` owns just
            entry `i`. A dense layer behind a flattened `(4, 4, 32)` image gives each of the 32 channels 16 rows:
            `indices.shape == (16, 32)`.
    """

    path: str
    axis: int
    indices: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Incoming(Slot):
    """A weight that produces the units: a fresh unit draws it anew.

    Args:
        fan_in: number of inputs that a unit sums through this weight; `None`: all of the leaf but `axis`.
        fan_out: number of sums that an input enters through this weight; `None`: the length of `axis`.
    """

    fan_in: int | None = None
    fan_out: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Vector(Slot):
    """A bias, a norm's scale or a running statistic, with one entry a unit: a fresh unit has its `neutral` value.

    Args:
        neutral: 0 for what is added or subtracted (bias, running mean), 1 for what multiplies or divides (scale,
            running variance).
    """

    neutral: float = 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class Outgoing(Slot):
    """A weight that reads the units: a fresh unit has it at zero.

    Args:
        feature: the key, in the features that `Wiring.apply` returns, of the activation that this weight reads.
        bias: path of the vector that is added to what this weight computes, if there is one.
    """

    feature: str = ""
    bias: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Hidden units that are permuted, measured and made anew together.

    Args:
        name: the module of the first weight that produces the units: `Dense_0`.
        units: how many they are.
        incoming, vectors, outgoing: where their parameters lie.
        coupled: whether something besides the weights mixes the units (a LayerNorm over them, a softmax): then a
            unit without outgoing weights still moves the others a little.
    """

    name: str
    units: int
    incoming: tuple[Incoming, ...]
    vectors: tuple[Vector, ...]
    outgoing: tuple[Outgoing, ...]
    coupled: bool = False

    @property
    def features(self) -> tuple[str, ...]:
        """The keys of this group's activations, in the order of their first reader."""
        return tuple(dict.fromkeys(reader.feature for reader in self.outgoing))


@dataclasses.dataclass(frozen=True, eq=False)
class Wiring(Mapping[str, Group]):
    """The groups of hidden units of one network, by name: what every method and metric works on.

    Args:
        groups: the groups, in the order in which data meets them.
        function: `(params, *inputs) -> (output, features)`, set by `pliant.trace`; a wiring written by hand may leave
            it out and pass features of its own.
    """

    groups: Mapping[str, Group]
    function: Callable[..., tuple[object, Features]] | None = None

    def __getitem__(self, name: str) -> Group:
        return self.groups[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.groups)

    def __len__(self) -> int:
        return len(self.groups)

    def apply(self, params: Params, *inputs: object) -> tuple[Any, Features]:
        """Runs the network and returns `(output, features)`.

        `features` holds each activation as the next weight reads it (after norm, nonlinearity and pooling), the
        units on the last axis: `(*samples, units)`, where samples are batch and space; `(*samples, positions,
        units)` if the reader's slot has `indices`. Differentiable, jittable and vmappable like the network itself.

        Raises:
            ValueError: if the wiring was written by hand without a function.
        """
        if self.function is None:
            raise ValueError(
                "this Wiring was written by hand and has no function to run; "
                "pass features of your own, or make the wiring with pliant.trace(apply, params, *inputs)"
            )
        return self.function(params, *inputs)

    def only(self, *names: str) -> "Wiring":
        """The same network with a choice of its groups, for a method that shall leave the others alone.

        Raises:
            ValueError: for a name that is not a group.
        """
        unknown = [name for name in names if name not in self.groups]
        if unknown:
            raise ValueError(f"no group {unknown[0]!r} in this wiring; it has: {', '.join(self.groups)}")
        return dataclasses.replace(self, groups={name: self.groups[name] for name in names})

    def describe(self) -> str:
        """A table for people: group, units, the weights that feed and read it with the axis of the units, features."""
        rows = [("group", "units", "in", "out", "features")]
        for group in self.values():
            name = f"{group.name} (coupled)" if group.coupled else group.name
            ends = [[f"{slot.path}[{slot.axis}]" for slot in slots] for slots in (group.incoming, group.outgoing)]
            columns = ([name], [str(group.units)], *ends, group.features)
            rows += itertools.zip_longest(*columns, fillvalue="")
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        )


_FEW = 4  # up to so many units are written one by one into a large leaf, more by a pass over it
_SMALL = 4096  # entries: a pass over a smaller leaf fuses with the optimizer's step and is cheaper still

Chosen = dict[str, Array]  # group -> (most,) indices of units; `group.units` (one past the last) stands for none
Rows = dict[str, tuple[Array, ...]]  # group -> for each incoming weight its leaf's shape with `most` units, in (-1, 1)


def leaves(params: Params) -> dict[str, Array]:
    """The leaves of a parameter tree by path: `{"params/Dense_0/kernel": ...}`."""
    with_paths, _ = jax.tree_util.tree_flatten_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in with_paths}


def replace_leaves(params: Params, changed: Mapping[str, Array]) -> Params:
    """The same tree with the leaves at some paths replaced."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: changed.get(jax.tree_util.keystr(path, simple=True, separator="/"), leaf), params
    )


def find(by_path: Mapping[str, Array], slot: Slot) -> Array:
    """The leaf that a slot speaks of.

    Raises:
        ValueError: if the parameters have no such leaf (another network, or one that optax masked out).
    """
    if slot.path not in by_path:
        raise ValueError(
            f"the wiring speaks of a parameter {slot.path!r}, but these have only: {', '.join(by_path)}; "
            "trace the network with the parameters that the optimizer sees, or choose groups with wiring.only(...)"
        )
    return by_path[slot.path]


def positions(slot: Slot) -> int:
    """How many entries along the slot's axis each unit owns."""
    return 1 if slot.indices is None else slot.indices.shape[0]


def mean_magnitude(leaf: Array, slot: Slot) -> Array:
    """Mean |w| of each unit's weights in one leaf, over all other axes: `(positions, units)`."""
    others = tuple(axis for axis in range(leaf.ndim) if axis != slot.axis)
    per_entry = jnp.abs(leaf).mean(others)
    return per_entry[None] if slot.indices is None else per_entry[slot.indices]


def activation(features: Features, reader: Outgoing, group: Group) -> Array:
    """What one outgoing weight reads of its group, as `(samples, positions, units)`.

    Raises:
        ValueError: if the feature is missing, or its shape does not fit the wiring.
    """
    if reader.feature not in features:
        raise ValueError(
            f"features has no {reader.feature!r}; it has: {', '.join(features)}. Take them of wiring.apply"
        )
    feature = features[reader.feature]
    expected = (group.units,) if reader.indices is None else reader.indices.shape
    if feature.shape[-len(expected) :] != expected:
        wanted = ", ".join(["...", *map(str, expected)])
        raise ValueError(
            f"features[{reader.feature!r}] has shape {feature.shape}, but the wiring expects ({wanted}): "
            "take the features of wiring.apply(params, *inputs)"
        )
    return feature.reshape(-1, positions(reader), group.units)


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
