"""Features of a batch that is spread over devices."""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

AxisName: TypeAlias = str | tuple[str, ...]  # of a mapped axis: of a mesh in `jax.shard_map`, or of `jax.pmap`


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
    types = (getattr(jax.typeof(leaf), "manual_axis_type", None) for leaf in jax.tree.leaves(tree))
    return {axis for each in types for axis in getattr(each, "varying", ())}


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
