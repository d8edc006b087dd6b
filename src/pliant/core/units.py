"""Groups of hidden units, and where their weights and activations lie.

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
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from .base import Array, Features, Initializer, Params

_STATISTICS = ("statistics", "batch_stats")  # collections of a `Network`, and of flax


@dataclasses.dataclass(frozen=True, eq=False)
class Slot:
    """Where the units of a group lie along one axis of one parameter leaf.

    Args:
        path: the leaf, its keys joined by slashes: `params/Dense_0/kernel`.
        axis: the axis of the leaf along which the units lie.
        indices: which entries along `axis` each unit owns, `(positions, units)`; `None` where unit `i` owns just
            entry `i`. A dense layer behind a flattened `(4, 4, 32)` image gives each of the 32 channels 16 rows:
            `indices.shape == (16, 32)`.
        order: of a kernel: its place among the kernels in the order of the forward pass; of a vector: that of the
            kernel before it. `pliant.trace` fills it in; `None`: unknown.
    """

    path: str
    axis: int
    indices: Int[np.ndarray, "positions units"] | None = None
    order: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Kernel(Slot):
    """A weight that sums inputs to units.

    Args:
        fan_in: number of inputs of each sum; `None`: from the shape of the leaf, see `fans`.
        fan_out: number of sums that an input enters; `None`: from the shape of the leaf.
    """

    fan_in: int | None = None
    fan_out: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Incoming(Kernel):
    """A weight that produces the units: a fresh unit draws it from the initializer."""


@dataclasses.dataclass(frozen=True, eq=False)
class Vector(Slot):
    """A bias, a norm's scale or a running statistic, with one entry a unit: a fresh unit has its `neutral` value.

    Args:
        neutral: 0 for what is added or subtracted (bias, running mean), 1 for what multiplies or divides (scale,
            running variance).
    """

    neutral: float = 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class Outgoing(Kernel):
    """A weight that reads the units: a fresh unit has it at zero, unless the weight makes the units as well (tied).

    Args:
        feature: the key, in the features that `Wiring.apply` returns, of the activation that this weight reads.
        bias: path of the vector that is added to what this weight computes, if there is one.
    """

    feature: str = ""
    bias: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Hidden units that are permuted, measured and reinitialized together.

    Args:
        name: the module of the first weight that produces the units: `Dense_0`.
        units: how many units.
        incoming, vectors, outgoing: where their parameters lie.
        coupled: whether something besides the weights uses the units (a LayerNorm over them, a softmax, the
            standardization of the weight that reads them, an output beside the prediction): then a unit without
            outgoing weights still changes what comes out.
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
        groups: the groups, in the order of the forward pass.
        function: `(params, *inputs) -> (output, features)`, set by `pliant.trace`; a wiring written by hand may leave
            it out, and then the caller passes the features.
        initializer: the distribution of the network's initial weights, for methods with `initializer="network"`. In
            a run the network sets it.
        skipped: paths of the weights whose units were left out, and why, where `pliant.trace(..., skip=True)` left
            units out.
    """

    groups: Mapping[str, Group]
    function: Callable[..., tuple[object, Features]] | None = None
    initializer: Initializer = "kaiming"
    skipped: Mapping[str, str] = dataclasses.field(default_factory=dict)

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
        units)` if the reader's slot has `indices`. Differentiable, jittable and vmappable like the network itself; but
        on a CPU convolutions, max-pooling and products of few rows with large weights have no forward-mode derivative
        (`jax.jvp`).

        Raises:
            ValueError: if the wiring was written by hand without a function.
        """
        if self.function is None:
            raise ValueError(
                "this Wiring was written by hand and has no function to run; "
                "pass your features, or make the wiring with pliant.trace(apply, params, *inputs)"
            )
        return self.function(params, *inputs)

    def only(self, *names: str) -> "Wiring":
        """The same network with some of its groups, for a method that leaves the other groups alone.

        Raises:
            ValueError: for a name that is not a group.
        """
        unknown = [name for name in names if name not in self.groups]
        if unknown:
            raise ValueError(f"no group {unknown[0]!r} in this wiring; it has: {', '.join(self.groups)}")
        return dataclasses.replace(self, groups={name: self.groups[name] for name in names})

    def last(self) -> "Wiring":
        """The same network with the activations alone that its output layers read: weights that produce no units."""
        produce = {slot.path for group in self.values() for slot in group.incoming}
        groups = {
            name: dataclasses.replace(group, outgoing=tuple(out for out in group.outgoing if out.path not in produce))
            for name, group in self.items()
        }
        return dataclasses.replace(self, groups={name: group for name, group in groups.items() if group.outgoing})

    def describe(self) -> str:
        """A table to print: group, units, the weights that feed and read it with the axis of the units, features.

        Below it stand the weights whose units were left out, and why.
        """
        rows: list[tuple[str, ...]] = [("group", "units", "in", "out", "features")]
        for group in self.values():
            name = f"{group.name} (coupled)" if group.coupled else group.name
            ends = [[f"{slot.path}[{slot.axis}]" for slot in slots] for slots in (group.incoming, group.outgoing)]
            columns = ([name], [str(group.units)], *ends, group.features)
            rows += itertools.zip_longest(*columns, fillvalue="")
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        for why in dict.fromkeys(self.skipped.values()):
            paths = [path for path, reason in self.skipped.items() if reason == why]
            lines.append(f"left out, {why}: {', '.join(paths)}")
        return "\n".join(lines)


def path_of(keys: tuple[Any, ...]) -> str:
    """The path of a leaf, its keys joined by slashes: `params/Dense_0/kernel`.

    The variable that flax nnx has around each array is left out: its optimizer sees the parameters with it at first,
    and without it later.

    Args:
        keys: as `jax.tree_util.tree_flatten_with_path` gives them.
    """
    if len(keys) > 1 and keys[-1] == jax.tree_util.GetAttrKey("value"):
        keys = keys[:-1]
    return jax.tree_util.keystr(keys, simple=True, separator="/")


def module_of(path: str) -> str:
    """The module that a parameter belongs to: its path without the last key; `Dense_0` of `params/Dense_0/kernel`."""
    *modules, last = path.removeprefix("params/").split("/")
    return "/".join(modules) or last


def is_statistic(path: str) -> bool:
    """Whether a leaf is a running statistic and no weight: one of a collection `statistics`, or flax's `batch_stats`.

    Statistics follow the data. Neither an optimizer nor a method acts on them, except that a reinitialized unit gets
    neutral ones.

    Args:
        path: of the leaf in the variables, such as `statistics/BatchNorm_0/mean`.
    """
    return path.partition("/")[0] in _STATISTICS


def leaves(params: Params) -> dict[str, Array]:
    """The leaves of a parameter tree by path: `{"params/Dense_0/kernel": ...}`."""
    with_paths, _ = jax.tree_util.tree_flatten_with_path(params)
    return {path_of(keys): leaf for keys, leaf in with_paths}


def replace_leaves(params: Params, changed: Mapping[str, Array]) -> Params:
    """The same tree with the leaves at some paths replaced."""
    return jax.tree_util.tree_map_with_path(lambda keys, leaf: changed.get(path_of(keys), leaf), params)


def mask_leaves(params: Params, masks: Mapping[str, Array]) -> Params:
    """A tree of masks like the parameters: those given at their paths, and elsewhere `False`, broadcastable."""
    nowhere = jax.tree.map(lambda leaf: jnp.zeros((1,) * jnp.ndim(leaf), bool), params)
    return replace_leaves(nowhere, masks)


def any_of(masks: Sequence[Params]) -> Params:
    """True where at least one of some trees of masks is true."""
    return jax.tree.map(lambda *of_leaf: functools.reduce(jnp.logical_or, of_leaf), *masks)


def find(by_path: Mapping[str, Array], slot: Slot) -> Array:
    """The leaf of a slot.

    Raises:
        ValueError: if the parameters have no such leaf (another network, or one that optax masked out).
    """
    if slot.path not in by_path:
        raise ValueError(
            f"the wiring names a parameter {slot.path!r}, but the parameters are: {', '.join(by_path)}; "
            "trace the network with the parameters that the optimizer sees, put optax.masked and optax.partition "
            "inside of plastic, or choose groups with wiring.only(...)"
        )
    return by_path[slot.path]


def require_leaves(wiring: Wiring, params: Params) -> None:
    """Refuses parameters that lack a leaf of the wiring.

    Raises:
        ValueError: naming the leaf; see `find`.
    """
    by_path = leaves(params)
    for group in wiring.values():
        for slot in (*group.incoming, *group.vectors, *group.outgoing):
            find(by_path, slot)


def require_units(wiring: object, method: str) -> None:
    """Refuses an object that is not a wiring, and a wiring without units, on which a method would have no effect.

    Args:
        wiring: the argument of the method.
        method: the method's name.

    Raises:
        TypeError: if it is not a `Wiring`.
        ValueError: for a wiring without groups.
    """
    if not isinstance(wiring, Wiring):
        raise TypeError(
            f"{method} got an object of type {type(wiring).__name__} as its wiring; "
            f"write pliant.{method}(pliant.trace(apply, params, x), ...)"
        )
    if not wiring:
        raise ValueError(
            f"{method}: this wiring has no groups of units, so there is nothing to act on; "
            "trace a network with hidden units, with weights that make them and weights that read them"
            + (": wiring.describe() says why units were left out" if wiring.skipped else "")
        )


def positions(slot: Slot) -> int:
    """How many entries along the slot's axis each unit owns."""
    return 1 if slot.indices is None else slot.indices.shape[0]


def fans(shape: tuple[int, ...], kernel: Kernel) -> tuple[int, int]:
    """Inputs of each sum in a kernel, and sums that each input enters: `(fan_in, fan_out)`.

    A kernel without `fan_in` and `fan_out` takes them from the shape of the leaf. An incoming kernel then sums over all
    axes but the axis of the units. An outgoing kernel has two axes, and its sums lie along the other.

    Raises:
        ValueError: for an outgoing kernel of more than two axes without `fan_in` and `fan_out`.
    """
    length = shape[kernel.axis]
    others = math.prod(shape) // length
    if isinstance(kernel, Outgoing):
        if None in (kernel.fan_in, kernel.fan_out) and len(shape) > 2:
            raise ValueError(
                f"{kernel.path!r} has {len(shape)} axes {shape}, and its outputs can lie along each of them; "
                "write Outgoing(..., fan_in=..., fan_out=...)"
            )
        return kernel.fan_in or length, kernel.fan_out or others
    return kernel.fan_in or others, kernel.fan_out or length


def mean_magnitude(leaf: Float[Array, "..."], slot: Slot) -> Float[Array, "positions units"]:
    """Mean |w| of each unit's weights in one leaf, over all other axes: `(positions, units)`."""
    others = tuple(axis for axis in range(leaf.ndim) if axis != slot.axis)
    per_entry = jnp.abs(leaf).mean(others)
    return per_entry[None] if slot.indices is None else per_entry[slot.indices]


def activation(features: Features, reader: Outgoing, group: Group) -> Float[Array, "samples positions units"]:
    """The activations of a group that one outgoing weight reads, as `(samples, positions, units)`.

    Raises:
        ValueError: if the feature is missing, or its shape does not fit the wiring.
    """
    if reader.feature not in features:
        raise ValueError(
            f"features has no {reader.feature!r}; it has: {', '.join(features)}; take them from wiring.apply"
        )
    feature = features[reader.feature]
    expected = (group.units,) if reader.indices is None else reader.indices.shape
    if feature.shape[-len(expected) :] != expected:
        wanted = ", ".join(["...", *map(str, expected)])
        raise ValueError(
            f"features[{reader.feature!r}] has shape {feature.shape}, but the wiring expects ({wanted}): "
            "take the features from wiring.apply(params, *inputs)"
        )
    return feature.reshape(-1, positions(reader), group.units)
