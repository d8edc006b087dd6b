"""The arrays of a population by name, as a checkpoint holds them.

agent.0000, agent.0001, ...     leaves of the agents' states, in the order of their tree
diverged.0000                   the step at which each member diverged; -1: it did not
averages.0000, ...              metrics of learning, averaged over the chunk so far
host.NAME                       the state of environments outside of the device
FIELD.0000, ...                 leaves of the other fields of a member
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core.agent import Agent, Learner
from pliant.core.base import Key

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
    return {
        name: tree_of((arrays[f"{name}.{number:04d}"] for number in range(len(jax.tree.leaves(tree)))), tree)
        for name, tree in like.items()
    }


def tree_of(leaves: Iterable[Any], like: Any) -> Any:
    """The tree of some saved leaves, in order, with the structure of `like`."""
    originals, structure = jax.tree.flatten(like)
    return structure.unflatten(map(like_key, leaves, originals))


def of_host(saved: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The saved state of environments outside of the device, by the names in a checkpoint."""
    return {_HOST + name: array for name, array in saved.items()}


def host_in(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inverse of `of_host`."""
    return {name.removeprefix(_HOST): array for name, array in arrays.items() if name.startswith(_HOST)}


class Agents(NamedTuple):
    """The agents in a checkpoint, and the saved state of their problem."""

    states: list[np.ndarray]  # leaves of the agents' states, `(members, ...)` each; of a key, its data
    problem: list[np.ndarray]  # leaves of the states of a problem on the device, `(members, ...)` each
    diverged: np.ndarray  # (members,) the step at which each member diverged; -1: it did not
    host: dict[str, np.ndarray]  # the saved state of environments outside of the device, `(members, ...)` each


def agent_shapes(
    agent: Agent | Learner, members: int, problem: Callable[[Key], Any] | None = None
) -> dict[str, jax.ShapeDtypeStruct]:
    """The arrays in a checkpoint that `agents_in` needs in any case.

    Args:
        agent: of the members.
        members: their number.
        problem: `key -> state` of the problem, if that is needed, too.
    """

    def trees(key: Key) -> dict[str, Any]:
        states = {"agent": agent.init(key), "diverged": jnp.int32(-1)}
        return named(states if problem is None else {**states, "problem": problem(key)})

    one = jax.eval_shape(trees, jax.random.key(0))
    return {name: jax.ShapeDtypeStruct((members, *leaf.shape), leaf.dtype) for name, leaf in one.items()}


def agents_in(arrays: Mapping[str, np.ndarray]) -> Agents:
    """The agents in the arrays of a checkpoint, whichever loop saved them."""
    states, problem = (
        [arrays[name] for name in sorted(arrays) if name.startswith(tree)] for tree in ("agent.", "problem.")
    )
    return Agents(states, problem, arrays["diverged.0000"], host_in(arrays))
