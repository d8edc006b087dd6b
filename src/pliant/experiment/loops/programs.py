"""The compiled programs of one run: all members begin; all members advance by a stretch."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core.problem import HostEnvironment, Stream
from pliant.experiment.configuration.build import build, problem_of, quietly, suits_map
from pliant.experiment.configuration.config import RunConfig
from pliant.experiment.devices import GIB, available_memory
from pliant.experiment.errors import ConfigError

from . import device as device_loop
from . import stream as stream_loop
from .components import Episodes
from .population import Spread, layout


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
        kind = config.components()[where].schema[key].type
        swept[name] = np.asarray(column, float if kind is float else int)
    return Population(np.asarray(columns[-1], np.uint32), swept)


class Ended(NamedTuple):
    """The episodes that ended in a stretch."""

    member: np.ndarray  # (episodes,) index into the population
    step: np.ndarray  # (episodes,) steps of the member when they ended
    values: dict[str, np.ndarray]  # (episodes,) each: return, length, what the arena tells


class Stretch(NamedTuple):
    """What came out of a stretch, on the host."""

    metrics: dict[tuple[str, str], np.ndarray]  # (metric, group) -> (members,)
    diverged: np.ndarray  # (members,) the step at which each member diverged; -1: not
    ended: Ended


class Programs(Protocol):
    """A population that can be advanced, saved and restored. Each program is compiled at its first call."""

    def begin(self) -> None:
        """Puts all members before their first step."""
        ...

    def advance(self, step: int, length: int) -> Stretch:
        """Advances all members by `length` steps, `step` steps having been before."""
        ...

    def policies(self) -> Any:
        """What acting needs of the agents' states: a tree of `(members, ...)` arrays."""
        ...

    def save(self) -> list[np.ndarray]:
        """The state as plain arrays in a fixed order, `(members, ...)` each, for a checkpoint; agents first."""
        ...

    def shapes(self) -> list[jax.ShapeDtypeStruct]:
        """What `save` gives."""
        ...

    def restore(self, arrays: Sequence[np.ndarray], step: int) -> None:
        """Takes back what `save` gave after `step` steps; to be called after `begin`."""
        ...

    def close(self) -> None:
        """Frees what lies outside of the device."""
        ...


def programs_of(config: RunConfig, members: Population) -> Programs:
    """The programs of a run whose sweep is one program, for its population.

    Raises:
        ConfigError: if what the agents keep does not fit into memory.
    """
    check_memory(config, members)
    if isinstance(problem_of(config), HostEnvironment):
        from .host import HostPrograms  # which builds upon this file

        return HostPrograms(config, members)
    return DevicePrograms(config, members)


def check_memory(config: RunConfig, members: Population) -> None:
    """Refuses a population whose agents are larger than memory; nothing is allocated.

    Raises:
        ConfigError: if it is.
    """
    with quietly():
        agent = build(config).agent
        state = jax.eval_shape(lambda: jax.tree.map(plain, agent.init(jax.random.key(0))))
    size = len(members) * sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    there_is = available_memory()
    if there_is is not None and size > there_is:
        raise ConfigError(
            f"the agents of {len(members)} members take {size / GIB:,.1f} GiB of memory, but there are "
            f"{there_is / GIB:,.1f} GiB; write fewer seeds, or an agent that keeps less"
        )


class DevicePrograms:
    """Programs whose problem is on the device, too: a stretch is one call."""

    def __init__(self, config: RunConfig, members: Population):
        self._config = config
        self._members = members
        problem = problem_of(config)
        self._loop = stream_loop if isinstance(problem, Stream) else device_loop
        self._environments = 1 if isinstance(problem, Stream) else problem.num_envs
        self._spread = Spread(layout(len(members), seed_axis(config), jax.local_device_count(), jax.default_backend()))
        self._advance: dict[int, Any] = {}
        self._policy = self._spread.jit(self._policy_of)
        self._state: Any = None  # arrays of the population, padded

    def begin(self) -> None:
        """See `Programs`."""

        def begin(member: Any, _: Any) -> Any:
            seed, values = member
            return self._loop.begin(build(self._config.with_values(values)), seed), values

        self._state = self._spread.jit(begin)(self._spread.place((self._members.seeds, self._members.swept)), 0)

    def advance(self, step: int, length: int) -> Stretch:
        """See `Programs`; each length is a program of its own."""

        def advance(member: Any, step: jax.Array) -> Any:
            state, values = member
            components = build(self._config.with_values(values))
            state, metrics, episodes = self._loop.advance(components, state, step, length)
            return (state, values), metrics, state.diverged, episodes

        if length not in self._advance:
            self._advance[length] = self._spread.jit(advance, donate=True)
        self._state, *results = self._advance[length](self._state, jnp.asarray(step, jnp.int32))
        metrics, diverged, episodes = self._spread.gather(results)
        return Stretch(metrics, diverged, self._ended(episodes, step))

    def _ended(self, episodes: Episodes, before: int) -> Ended:
        """Picks the episodes that ended out of `(members, steps, num_envs)` arrays."""
        if not episodes:
            return Ended(np.zeros(0, int), np.zeros(0, int), {})
        member, t, environment = np.nonzero(episodes.pop("ended"))
        step = before + t * self._environments + environment + 1
        return Ended(member, step, {name: x[member, t, environment] for name, x in episodes.items()})

    def _policy_of(self, member: Any, _: Any) -> Any:
        state, values = member
        with quietly():
            return build(self._config.with_values(values)).agent.policy(state.agent)

    def policies(self) -> Any:
        """See `Programs`."""
        return self._spread.gather(self._policy(self._state, 0))

    def save(self) -> list[np.ndarray]:
        """See `Programs`."""
        return [self._spread.gather(plain(leaf)) for leaf in jax.tree.leaves(self._state)]

    def shapes(self) -> list[jax.ShapeDtypeStruct]:
        """See `Programs`."""
        leaves = [jax.eval_shape(plain, leaf) for leaf in jax.tree.leaves(self._state)]
        return [jax.ShapeDtypeStruct((len(self._members), *leaf.shape[1:]), leaf.dtype) for leaf in leaves]

    def restore(self, arrays: Sequence[np.ndarray], step: int) -> None:
        """See `Programs`."""
        leaves, structure = jax.tree.flatten(self._state)
        self._state = structure.unflatten(
            like_key(self._spread.place(array), leaf) for array, leaf in zip(arrays, leaves, strict=True)
        )

    def close(self) -> None:
        """See `Programs`; there is nothing to free."""


def seed_axis(config: RunConfig) -> Any:
    """How the members advance: as the configuration says, or as suits what they compute."""
    if config.seed_axis != "auto":
        return config.seed_axis
    return "map" if jax.default_backend() == "cpu" and suits_map(config) else "vmap"


def plain(leaf: jax.Array) -> jax.Array:
    """An array that can be saved: of a key, its data."""
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def like_key(array: jax.Array, leaf: jax.Array) -> jax.Array:
    """What `plain` made its argument of, if that was like `leaf`."""
    return jax.random.wrap_key_data(array, impl=jax.random.key_impl(leaf)) if _is_key(leaf) else array


def _is_key(leaf: jax.Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
