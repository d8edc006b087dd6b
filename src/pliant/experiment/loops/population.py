"""The members of a run, and a function of one member mapped over them: devices, then blocks, then `vmap`."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pliant.experiment.configuration.config import RunConfig

SeedAxis: TypeAlias = Literal["vmap", "map"]

# Measured on a CPU with small MLPs: the state of about this many members stays in a core's cache while it is worked on,
# and XLA does not yet split single operations among threads, which costs more than it gains.
_CPU_BLOCK = 32


class Population(NamedTuple):
    """The members of a run: seeds x the values of the swept settings."""

    seeds: np.ndarray  # (members,) uint32
    swept: dict[str, np.ndarray]  # dotted name -> (members,), as written; the device takes 32 bits of them

    def __len__(self) -> int:
        return len(self.seeds)

    def only(self, chosen: np.ndarray) -> "Population":
        """Some of the members, by their indices."""
        return Population(self.seeds[chosen], {name: values[chosen] for name, values in self.swept.items()})


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


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the members of a population lie on the devices.

    Args:
        members: number of members.
        devices: number of devices that share them.
        blocks: number of blocks that each device computes, one after another.
        block: number of members of a block, which advance at once.
    """

    members: int
    devices: int
    blocks: int
    block: int

    @property
    def padded(self) -> int:
        """Members with the copies that fill the last block."""
        return self.devices * self.blocks * self.block


def layout(members: int, seed_axis: SeedAxis, devices: int, backend: str = "cpu") -> Layout:
    """Chooses a layout: the fewest devices that do not lengthen the computation, with one block after another on each.

    A block is one member (`map`), or, if they advance at once (`vmap`), about 32 on a CPU and all elsewhere.
    """
    each = math.ceil(members / min(devices, members))
    at_once = 1 if seed_axis == "map" else _CPU_BLOCK if backend == "cpu" else each
    blocks = math.ceil(each / at_once)
    block = math.ceil(each / blocks)
    return Layout(members, math.ceil(members / (blocks * block)), blocks, block)


class MemberMap:
    """Functions of one member, mapped over a population.

    Arrays of the population have a leading axis of `layout.padded` members. Entries past `layout.members` are copies of
    the last member, and are not results.

    Args:
        layout: from `layout(...)`.
    """

    def __init__(self, layout: Layout):
        self.layout = layout
        mesh = Mesh(np.array(jax.devices()[: layout.devices]), ("members",))
        self._sharded = PartitionSpec("members")
        self._mesh = mesh
        self.sharding = NamedSharding(mesh, self._sharded)

    def place(self, tree: Any) -> Any:
        """Puts arrays with a leading axis of `members` onto the devices, padded."""
        missing = self.layout.padded - self.layout.members
        if missing:
            tree = jax.tree.map(lambda x: np.concatenate([x, np.repeat(x[-1:], missing, axis=0)]), tree)
        return jax.device_put(tree, self.sharding)

    def share(self, tree: Any) -> Any:
        """Puts arrays that all members share onto each device, once."""
        return jax.device_put(tree, NamedSharding(self._mesh, PartitionSpec()))

    def gather(self, tree: Any) -> Any:
        """Takes arrays of the population to the host, without the padding."""
        return jax.tree.map(lambda x: np.asarray(x)[: self.layout.members], tree)

    def jit(self, f: Callable[..., Any], *, donate: bool = False) -> Callable[..., Any]:
        """Compiles `f(*member, shared) -> result` for all members: `g(*members, shared) -> results`.

        Args:
            f: function of one member (a tree, or several of them) and of what all members share (a tree).
            donate: whether the memory of the members' first tree may be reused for the results.
        """
        blocks = (self.layout.blocks, self.layout.block)

        def on_one_device(members: Any, shared: Any) -> Any:
            stacked = jax.tree.map(lambda x: x.reshape(*blocks, *x.shape[1:]), members)
            # A block of one is the plain function: vmap would make a network's convolutions slower.
            one_block = (
                (lambda b: jax.tree.map(lambda x: jnp.asarray(x)[None], f(*jax.tree.map(lambda x: x[0], b), shared)))
                if self.layout.block == 1
                else (lambda b: jax.vmap(lambda member: f(*member, shared))(b))
            )
            if self.layout.blocks == 1:
                return one_block(members)
            results = jax.lax.map(one_block, stacked)
            # Not -1 for the first size: it is not known of an array without elements.
            return jax.tree.map(lambda x: x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]), results)

        on_all = jax.shard_map(
            on_one_device,
            mesh=self._mesh,
            in_specs=(self._sharded, PartitionSpec()),
            out_specs=self._sharded,
            check_vma=False,
        )

        def on_members(*arguments: Any) -> Any:
            *members, shared = arguments
            return on_all(tuple(members), shared)

        return jax.jit(on_members, donate_argnums=(0,) if donate else ())
