"""Batches and networks that are spread over devices."""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp

AxisName: TypeAlias = str | tuple[str, ...]  # of a mapped axis: of a mesh in `jax.shard_map`, or of `jax.pmap`
Result = TypeVar("Result")


def cond(condition: Any, accept: Callable[[], Result], decline: Callable[[], Result]) -> Result:
    """`jax.lax.cond`, where a result may differ between devices in one branch and not in the other.

    JAX refuses such branches inside of `jax.shard_map` with `check_vma=True`. An example is a method that chooses units
    in its own network on each device, or none at all.
    """
    if not jax.sharding.get_abstract_mesh().manual_axes:
        return jax.lax.cond(condition, accept, decline)
    results = [jax.eval_shape(branch) for branch in (accept, decline)]

    def widened(branch: Callable[[], Result]) -> Callable[[], Result]:
        return lambda: jax.tree.map(differing, branch(), *results)

    return jax.lax.cond(condition, widened(accept), widened(decline))


def differing(value: Any, *others: Any) -> Any:
    """An array, which may now differ along the axes of a mesh along which the others may differ."""
    axes = tuple(sorted(_varying(others) - _varying(value)))
    return jax.lax.pcast(value, axes, to="varying") if axes else value


def require_names(axis_name: object) -> None:
    """Refuses what is no name of an axis.

    Raises:
        TypeError: for anything but a text, a tuple of texts, or `None`.
    """
    names = axis_name if isinstance(axis_name, tuple) else () if axis_name is None else (axis_name,)
    if not all(isinstance(name, str) for name in names):
        raise TypeError(
            f"axis_name={axis_name!r}: write the name of a mapped axis, such as 'devices', or a tuple of names"
        )


def require_axis_name(features: Any, params: Any) -> None:
    """Refuses features that differ between devices where the parameters are the same on all.

    JAX knows of this inside of `jax.shard_map` with `check_vma=True`; elsewhere nothing is refused.

    Raises:
        ValueError: for such features.
    """
    apart = _varying(features) - _varying(params)
    if apart:
        raise ValueError(
            f"the features differ along the mesh axis {min(apart)!r} and the parameters do not, so each device would "
            f"edit its copy of the network in another way; write plastic(..., axis_name={min(apart)!r})"
        )


def _varying(tree: Any) -> set[str]:
    """The axes of a mesh along which an array of the tree may differ."""
    leaves = jax.tree.leaves(tree)
    types = (leaf if isinstance(leaf, jax.ShapeDtypeStruct) else jax.typeof(leaf) for leaf in leaves)
    kinds = (getattr(each, "manual_axis_type", None) for each in types)
    return {axis for kind in kinds for axis in getattr(kind, "varying", ())}


def gather(features: dict[str, jax.Array], axis_name: AxisName) -> dict[str, jax.Array]:
    """The features on all devices, the same on each, `(devices, *samples, units)`.

    It is a sum, because `jax.shard_map` knows of sums that they are the same on each device.

    Args:
        features: activation -> `(*samples, units)`, of the part of the batch on this device.
        axis_name: of the mapped axis.
    """
    devices, own = jax.lax.axis_size(axis_name), jax.lax.axis_index(axis_name)

    def over_devices(feature: jax.Array) -> jax.Array:
        place = jnp.arange(devices).reshape(-1, *(1,) * feature.ndim)
        return jax.lax.psum(jnp.where(place == own, feature[None], 0), axis_name)

    return jax.tree.map(over_devices, features)
