"""Contract of the diagnostics, which measure a network without changing it, and the views of it that they share.

A diagnostic is made from a wiring, `dormant_fraction(wiring, threshold=0.1)`, and is then a pure function
`measure(**signals) -> {row: ()}`. It names the signals that it needs after `*`, and ignores the others:

* `features`: activations of a forward pass, `{feature: (*samples, units)}`, as `wiring.apply` returns them;
* `params`: the parameters now;
* `previous_params`: the parameters at the measurement before this one, or before the update: the caller decides;
* `grads`: gradients of the loss, a tree like the parameters;
* `method_state`: the state of the optimizer that `plastic` made, in which the methods' states are found by field.

A row is named after a group of units, an activation, the path of a parameter leaf, one of an agent's networks, or `""`:
everything together. A diagnostic measures one member of a population, and the caller maps it over the members. Each
diagnostic can be jitted and vmapped.
"""

import functools
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, Shaped

from . import units
from .base import Array, Features, Params
from .settings import require_one_of
from .units import Group, Wiring

Diagnostic: TypeAlias = Callable[..., dict[str, Array]]  # (**signals) -> {row: ()}
Leaves: TypeAlias = Literal["kernels", "all"]
Layers: TypeAlias = Literal["all", "last"]
Statistic: TypeAlias = Literal["mean", "median", "min", "max"]


def float32_at_least(array: Float[Array | np.ndarray, "*shape"]) -> Float[Array, "*shape"]:
    """The array in float32, in which sums of bfloat16 numbers stay accurate; float64 stays as it is."""
    array = jnp.asarray(array)
    return array if array.dtype == jnp.float64 else array.astype(jnp.float32)


def matrices(features: Features, group: Group) -> dict[str, Float[Array, "samples units"]]:
    """Each activation of a group as a matrix, `{feature: (samples, units)}`, in float32 at least.

    Space counts as samples, before a flattening layer (`positions`) as elsewhere.

    Raises:
        ValueError: if a feature is missing, or its shape does not fit the wiring.
    """
    return {
        reader.feature: float32_at_least(units.activation(features, reader, group)).reshape(-1, group.units)
        for reader in group.outgoing
    }


def at_layers(wiring: Wiring, layers: Layers) -> Wiring:
    """The wiring with the activations to be measured.

    Args:
        wiring: of the network.
        layers: `all` of its activations, or those of the `last` hidden layer, which the output layers read.

    Raises:
        ValueError: for another choice of layers.
    """
    require_one_of("layers", layers, get_args(Layers))
    return wiring.last() if layers == "last" else wiring


def singular_values(matrix: Float[Array | np.ndarray, "..."]) -> Float[Array, " values"]:
    """Singular values of a matrix, `(min(samples, units),)`, the largest first; the matrix is not centred.

    Raises:
        ValueError: if it does not have two axes.
    """
    if jnp.ndim(matrix) != 2:
        raise ValueError(
            f"a rank needs a matrix (samples, units), got shape {jnp.shape(matrix)}; "
            "write features.reshape(-1, features.shape[-1])"
        )
    # Eigenvalues of the Gram matrix would cost less, but lose all singular values below 3e-4 of the largest.
    # Even without the vectors, `full_matrices` would make room for samples x samples numbers.
    matrix = float32_at_least(matrix)
    return _one_by_one(matrix) if jax.default_backend() == "cpu" else _singular_values(matrix)


def _singular_values(matrix: Array) -> Array:
    return jnp.linalg.svd(matrix, full_matrices=False, compute_uv=False)


# Under `vmap`, LAPACK's decompositions on a CPU wait for threads of the pool in which they run themselves: two devices
# with several members each would wait for ever.
_one_by_one = jax.custom_batching.sequential_vmap(_singular_values)


def weights(tree: Params, which: Leaves) -> dict[str, Array]:
    """The floating-point leaves of parameters or gradients by path, in float32 at least, without running statistics.

    Args:
        tree: the parameters, or a tree like them.
        which: `kernels`: leaves with at least two axes, so neither biases nor norms; `all`: every leaf.
    """
    return {
        path: float32_at_least(leaf)
        for path, leaf in units.leaves(tree).items()
        if jnp.issubdtype(leaf.dtype, jnp.floating)
        and (which == "all" or leaf.ndim > 1)
        and not units.is_statistic(path)
    }


def networks(paths: Iterable[str], least: int = 2) -> list[str]:
    """The networks that leaves belong to, by the first words of their paths: `actor` of `actor/Dense_0/kernel`.

    An agent with several networks keeps the layers of each under its name. A leaf of a shorter path belongs to a layer.

    Args:
        paths: of leaves.
        least: the smallest number of networks; if there are fewer, the result is empty.
    """
    found = list(dict.fromkeys(path.partition("/")[0] for path in paths if path.count("/") > 1))
    return found if len(found) >= least else []


def with_average(values: Mapping[str, Array], sizes: Mapping[str, int]) -> dict[str, Array]:
    """The values, and under `""` their average weighted by size; empty if there are no values."""
    if not values:
        return {}
    total = sum(sizes[name] for name in values)
    weighted = [value * sizes[name] for name, value in values.items()]
    return {**values, "": functools.reduce(operator.add, weighted) / total}


def unit_state(method_state: Any, field: str, wiring: Wiring) -> dict[str, list[Array]]:
    """The numbers that the methods keep for each unit in one field of their states.

    Args:
        method_state: the state of the optimizer; states of methods lie anywhere in it.
        field: the field's name: `age`.
        wiring: whose groups to look for.

    Returns:
        For each group with the field in some method's state, one `(units,)` array for each such method. A method that
        reads a residual network as a list of layers has several for a group: `GROUP` and `GROUP@MODULE`.
    """
    return _state(method_state, field, {name: (group.units,) for name, group in wiring.items()})


def group_state(method_state: Any, field: str, wiring: Wiring) -> dict[str, list[Array]]:
    """As `unit_state`, for fields that hold one number, `()`, for each group."""
    return _state(method_state, field, {name: () for name in wiring})


def states_with_masks(method_state: Any) -> list[Any]:
    """The states of the methods that mask weights: their field `mask` is `{path: like the leaf}` bool."""

    def masks(state: Any) -> bool:
        by_path = getattr(state, "mask", None)
        return isinstance(by_path, dict) and all(getattr(mask, "dtype", None) == jnp.bool for mask in by_path.values())

    return [state for state in jax.tree.leaves(method_state, is_leaf=masks) if masks(state)]


def _state(method_state: Any, field: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, list[Array]]:
    found: dict[str, list[Array]] = {}
    for _, by_group in optax.tree.get_all_with_path(method_state, field):
        for name, shape in shapes.items():
            # A field of this name may hold something else, such as the utility of each weight: the shapes decide.
            for key, value in by_group.items() if isinstance(by_group, dict) else ():
                if (key == name or str(key).startswith(f"{name}@")) and getattr(value, "shape", None) == shape:
                    found.setdefault(key, []).append(value)
    return found


def summarize(values: Shaped[Array, " units"], statistic: Statistic) -> Shaped[Array, ""]:
    """One statistic `()` of all units."""
    return {"mean": jnp.mean, "median": jnp.median, "min": jnp.min, "max": jnp.max}[statistic](values)
