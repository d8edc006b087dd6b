"""The arrays of a population by name, as a checkpoint holds them.

agent.0000, agent.0001, ...     leaves of the agents' states, in the order of their tree
diverged.0000                   the step at which each member diverged; -1: it did not
averages.0000, ...              metrics of learning, averaged over the chunk so far
host.NAME                       the state of environments outside of the device
FIELD.0000, ...                 leaves of the other fields of a member
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core.agent import Agent

_HOST = "host."


def plain(leaf: Any) -> Any:
    """An array that can be saved; for a key, its data."""
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def like_key(array: Any, leaf: Any) -> Any:
    """The inverse of `plain`: a key if `leaf` is one."""
    return jax.random.wrap_key_data(array, impl=jax.random.key_impl(leaf)) if _is_key(leaf) else array


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def named(trees: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves of trees, named after their tree and numbered; for keys, their data."""
    return {
        f"{name}.{number:04d}": plain(leaf)
        for name, tree in trees.items()
        for number, leaf in enumerate(jax.tree.leaves(tree))
    }


def named_back(arrays: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `named`, for trees with the structure of `like`."""
    return {name: _tree(arrays, name, tree) for name, tree in like.items()}


def _tree(arrays: Mapping[str, Any], name: str, like: Any) -> Any:
    leaves, structure = jax.tree.flatten(like)
    return structure.unflatten(like_key(arrays[f"{name}.{i:04d}"], leaf) for i, leaf in enumerate(leaves))


def of_host(saved: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The saved state of environments outside of the device, by the names in a checkpoint."""
    return {_HOST + name: array for name, array in saved.items()}


def host_in(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inverse of `of_host`."""
    return {name.removeprefix(_HOST): array for name, array in arrays.items() if name.startswith(_HOST)}


class Agents(NamedTuple):
    """The agents in a checkpoint, and the saved state of their environments."""

    states: list[np.ndarray]  # leaves of the agents' states, `(members, ...)` each; of a key, its data
    diverged: np.ndarray  # (members,) the step at which each member diverged; -1: it did not
    host: dict[str, np.ndarray]  # the saved state of environments outside of the device, `(members, ...)` each


def agent_shapes(agent: Agent, members: int) -> dict[str, jax.ShapeDtypeStruct]:
    """The arrays in a checkpoint that `agents_in` needs in any case."""
    one = jax.eval_shape(lambda: named({"agent": agent.init(jax.random.key(0)), "diverged": jnp.int32(-1)}))
    return {name: jax.ShapeDtypeStruct((members, *leaf.shape), leaf.dtype) for name, leaf in one.items()}


def agents_in(arrays: Mapping[str, np.ndarray]) -> Agents:
    """The agents in the arrays of a checkpoint, whichever loop saved them."""
    states = [arrays[name] for name in sorted(arrays) if name.startswith("agent.")]
    return Agents(states, arrays["diverged.0000"], host_in(arrays))
