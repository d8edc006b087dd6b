"""The agents of a run, as a checkpoint has them."""

import contextlib
import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core.problem import HostEnvironment, Stream
from pliant.experiment.configuration.build import build, problem_of, quietly
from pliant.experiment.configuration.config import RunConfig, from_yaml
from pliant.experiment.errors import ConfigError, StoreError
from pliant.experiment.loops import device as device_loop
from pliant.experiment.loops.components import Components
from pliant.experiment.loops.programs import Population, plain, population
from pliant.experiment.storage.checkpoints import best_checkpoint, checkpoints, read_checkpoint
from pliant.experiment.storage.shards import Shard, seeds_text, shards_of


class Trained(NamedTuple):
    """Members of a run after some steps of training."""

    config: RunConfig
    step: int
    members: Population
    diverged: np.ndarray  # (members,) the step at which each member diverged; -1: not
    agents: list[np.ndarray]  # leaves of the agents' states, `(members, ...)` each; of a key, its data
    host: dict[str, np.ndarray]  # what environments outside of the device saved, `(members, ...)` each

    def only(self, chosen: np.ndarray) -> "Trained":
        """Some of them, by their indices."""
        swept = {name: values[chosen] for name, values in self.members.swept.items()}
        return self._replace(
            members=Population(self.members.seeds[chosen], swept),
            diverged=self.diverged[chosen],
            agents=[leaf[chosen] for leaf in self.agents],
            host={name: saved[chosen] for name, saved in self.host.items()},
        )


def load(path: Path, step: int | Literal["best"] | None = None, seeds: Collection[int] | None = None) -> Trained:
    """Reads the agents of a run; changes nothing there, and does not mind a process that is at work.

    Args:
        path: the run's directory.
        step: of the checkpoint; `"best"`: the one with the best evaluations; `None`: the newest good one.
        seeds: whose agents; `None`: those of all seeds.

    Raises:
        ConfigError: if this is no run, or no run of an arena, or there is no checkpoint at `step`, or no best one, or
            no such seed; or if the checkpoints of its shards are at different steps.
        StoreError: if there is no good checkpoint, or another version of the program wrote it.
    """
    config = _config(path)
    with quietly():
        problem = problem_of(config)
        if isinstance(problem, Stream):
            raise ConfigError(
                f"{path} is a run of {config.problem.name}, a stream of examples, in which there are no episodes; "
                f"its curves: pliant report {path}"
            )
        components = build(config)
    shards = _chosen(path, seeds)
    read = _from_host_run if isinstance(problem, HostEnvironment) else _from_device_run

    def of(shard: Shard, step: int | Literal["best"] | None) -> Trained:
        of_shard = dataclasses.replace(config, seeds=shard.text)
        with quietly():
            step = best_checkpoint(shard.path) if step == "best" else step
            return read(shard.path, step, of_shard, population(of_shard), components)

    parts = [of(shard, step) for shard in shards]
    if step is None:  # of a shard that is behind, or has a damaged checkpoint, the others may have the step
        common = min(part.step for part in parts)
        there = [part.step == common or common in checkpoints(shard.path) for shard, part in zip(shards, parts)]
        if all(there):
            parts = [part if part.step == common else of(shard, common) for shard, part in zip(shards, parts)]
    if len({part.step for part in parts}) > 1:
        steps = ", ".join(f"{shard.text} at step {part.step:,}" for shard, part in zip(shards, parts))
        raise ConfigError(f"{path} has seeds {steps}: agents act together at one step; choose some with --seeds")
    return _joined(parts, set(seeds) if seeds is not None else None)


def _chosen(path: Path, seeds: Collection[int] | None) -> list[Shard]:
    """The shards that hold these seeds."""
    shards = shards_of(path)
    if not shards:
        raise StoreError(f"{path} has no checkpoint yet; wait for its first, or resume it: pliant run {path}")
    there = {seed for shard in shards for seed in shard.seeds}
    missing = set(seeds or ()) - there
    if missing:
        raise ConfigError(
            f"seeds={seeds_text(seeds)}: there is no seed {min(missing)}; the run has seeds={seeds_text(there)}"
        )
    return [shard for shard in shards if seeds is None or not set(seeds).isdisjoint(shard.seeds)]


def _joined(parts: Sequence[Trained], seeds: Collection[int] | None) -> Trained:
    """The members of all shards in the order of a population: for each combination of swept values, all seeds."""
    everyone = parts[0] if len(parts) == 1 else _concatenated(parts)
    members = everyone.members
    combination = np.concatenate([np.arange(len(part.members)) // len(part.config.seed_list) for part in parts])
    order = np.lexsort((members.seeds, combination))
    if seeds is not None:
        order = order[np.isin(members.seeds[order], list(seeds))]
    # Agents with a replay are large: they are not copied without need.
    return everyone if np.array_equal(order, np.arange(len(members))) else everyone.only(order)


def _concatenated(parts: Sequence[Trained]) -> Trained:
    members = Population(
        np.concatenate([part.members.seeds for part in parts]),
        {name: np.concatenate([part.members.swept[name] for part in parts]) for name in parts[0].members.swept},
    )
    return parts[0]._replace(
        config=dataclasses.replace(parts[0].config, seeds=seeds_text(set(members.seeds.tolist()))),
        members=members,
        diverged=np.concatenate([part.diverged for part in parts]),
        agents=[np.concatenate(leaves) for leaves in zip(*(part.agents for part in parts), strict=True)],
        host={name: np.concatenate([part.host[name] for part in parts]) for name in parts[0].host},
    )


def _config(path: Path) -> RunConfig:
    file = path / "config.yaml"
    try:
        return from_yaml(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(
            f"{path} is not a run: it has no config.yaml; give the path of a run, such as runs/<name>-<hash>"
        ) from None
    except ValueError as error:
        raise ConfigError(f"{file}: {error}") from error


def _from_device_run(
    path: Path, step: int | None, config: RunConfig, members: Population, components: Components
) -> Trained:
    """As `DevicePrograms` saves: the members of the loop, and the swept values."""

    def begin(seed: jax.Array, values: Any) -> Any:
        return device_loop.begin(components, seed), values

    one = jax.tree.map(lambda x: jnp.asarray(x)[0], (members.seeds, members.swept))
    leaves, structure = jax.tree.flatten(jax.eval_shape(begin, *one))
    step, arrays = read_checkpoint(path, _saved(leaves, len(members)), step)
    member, _ = structure.unflatten(arrays)
    return Trained(config, step, members, member.diverged, jax.tree.leaves(member.agent), {})


def _from_host_run(
    path: Path, step: int | None, config: RunConfig, members: Population, components: Components
) -> Trained:
    """As `HostPrograms` saves: the agents, the steps at which they diverged, and what the host saves."""
    leaves = jax.tree.leaves(jax.eval_shape(components.agent.init, jax.random.key(0)))
    with contextlib.closing(components.problem.open(np.zeros((len(members), 2), np.uint32))) as host:
        of_host = {name: saved for name, saved in sorted(host.save().items())}
    diverged = jax.ShapeDtypeStruct((), jnp.int32)
    like = [*_saved([*leaves, diverged], len(members)), *of_host.values()]
    step, arrays = read_checkpoint(path, like, step)
    agents, (diverged, *saved) = arrays[: len(leaves)], arrays[len(leaves) :]
    return Trained(config, step, members, diverged, agents, dict(zip(of_host, saved, strict=True)))


def _saved(leaves: Sequence[jax.ShapeDtypeStruct], members: int) -> list[jax.ShapeDtypeStruct]:
    """What a checkpoint holds of such leaves of each member."""
    plains = [jax.eval_shape(plain, leaf) for leaf in leaves]
    return [jax.ShapeDtypeStruct((members, *leaf.shape), leaf.dtype) for leaf in plains]
