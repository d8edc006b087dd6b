"""The compiled programs of one run: all members begin; all members advance by a stretch."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from . import loops
from .build import build, has_convolutions
from .config import RunConfig, settings_of
from .population import Spread, layout

State = Any  # arrays of the population, with a leading axis of members, padded


class Population(NamedTuple):
    """The members of a run: seeds x the values of the swept settings."""

    seeds: np.ndarray  # (members,) uint32
    swept: dict[str, np.ndarray]  # dotted name -> (members,), as written; the device takes 32 bits of them

    def __len__(self) -> int:
        return len(self.seeds)


def population(config: RunConfig) -> Population:
    """The members of a configuration: for each combination of swept values, all seeds."""
    combinations = list(itertools.product(*config.sweep.values(), config.seed_list))
    columns = list(zip(*combinations, strict=True))
    swept = {}
    for name, column in zip(config.sweep, columns):
        where, _, key = name.rpartition(".")
        kind = settings_of(config.parts()[where].source)[key].type
        swept[name] = np.asarray(column, float if kind is float else int)
    return Population(np.asarray(columns[-1], np.uint32), swept)


class Programs:
    """What a run calls: each program is compiled at its first call.

    Args:
        config: a run whose sweep is one program.
        members: its population.
    """

    def __init__(self, config: RunConfig, members: Population):
        self._config = config
        self._members = members
        seed_axis = config.seed_axis
        if seed_axis == "auto":
            seed_axis = "map" if has_convolutions(config) else "vmap"
        self._spread = Spread(layout(len(members), seed_axis, jax.local_device_count(), jax.default_backend()))
        self._advance: dict[int, Any] = {}

    def begin(self) -> State:
        """All members before their first step."""

        def begin(member: Any, _: Any) -> Any:
            seed, values = member
            return loops.begin(build(self._config.with_values(values)), seed), values

        return self._spread.jit(begin)(self._spread.place((self._members.seeds, self._members.swept)), 0)

    def advance(self, state: State, step: int, length: int) -> tuple[State, loops.Metrics, jax.Array]:
        """All members after `length` more steps.

        Args:
            state: consumed: its memory is used again.
            step: steps before.
            length: of the stretch; each length is a program of its own.

        Returns:
            The state; the metrics of the stretch, (members,) each; and at which step each member diverged, -1 for not.
        """

        def advance(member: Any, step: jax.Array) -> Any:
            state, values = member
            state, metrics = loops.advance(build(self._config.with_values(values)), state, step, length)
            return (state, values), metrics, state.diverged

        if length not in self._advance:
            self._advance[length] = self._spread.jit(advance, donate=True)
        return self._advance[length](state, jnp.asarray(step, jnp.int32))

    def gather(self, tree: Any) -> Any:
        """Results on the host, `(members, ...)`."""
        return self._spread.gather(tree)

    def to_host(self, state: State) -> list[np.ndarray]:
        """The state as plain arrays in a fixed order, for a checkpoint."""
        return [self._spread.gather(_plain(leaf)) for leaf in jax.tree.leaves(state)]

    def shapes(self, state: State) -> list[jax.ShapeDtypeStruct]:
        """What `to_host` gives for such a state."""
        plain = [jax.eval_shape(_plain, leaf) for leaf in jax.tree.leaves(state)]
        return [jax.ShapeDtypeStruct((len(self._members), *leaf.shape[1:]), leaf.dtype) for leaf in plain]

    def to_device(self, arrays: Sequence[np.ndarray], like: State) -> State:
        """The state that `to_host` was given, from what it returned."""
        leaves, structure = jax.tree.flatten(like)
        return structure.unflatten(
            _like_key(self._spread.place(array), leaf) for array, leaf in zip(arrays, leaves, strict=True)
        )


def _is_key(leaf: jax.Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: jax.Array) -> jax.Array:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _like_key(array: jax.Array, leaf: jax.Array) -> jax.Array:
    return jax.random.wrap_key_data(array, impl=jax.random.key_impl(leaf)) if _is_key(leaf) else array
