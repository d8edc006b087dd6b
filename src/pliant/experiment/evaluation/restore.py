"""Reads the agents of a run from its checkpoints."""

import dataclasses
import functools
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core.base import Array
from pliant.experiment.configuration.config import RunConfig, digest_of
from pliant.experiment.configuration.reading import from_mapping, resolve
from pliant.experiment.configuration.yaml_file import parse, read_text
from pliant.experiment.environment import data_digest
from pliant.experiment.errors import ConfigError, StoreError
from pliant.experiment.loops.plan import Plan
from pliant.experiment.loops.planning import unchecked_plan
from pliant.experiment.loops.population import Population, population
from pliant.experiment.loops.saving import agent_shapes, agents_in, tree_of
from pliant.experiment.storage.checkpoints import best_checkpoint, checkpoints, read_checkpoint
from pliant.experiment.storage.numerics import check_data
from pliant.experiment.storage.shards import Shard, seeds_text, shards_of


class Trained(NamedTuple):
    """Members of a run after some steps of training."""

    plan: Plan  # of these members
    step: int
    diverged: np.ndarray  # (members,) the step at which each member diverged; -1: it did not
    agents: list[np.ndarray]  # leaves of the agents' states, `(members, ...)` each; of a key, its data
    stream: list[np.ndarray]  # leaves of the states of a stream, `(members, ...)` each; empty for environments
    host: dict[str, np.ndarray]  # the saved state of environments outside of the device, `(members, ...)` each
    task: int | None = None  # index of the task that they act for; `None`: as they acted at the step

    @property
    def config(self) -> RunConfig:
        """The configuration of the members; after `transfer`, with the problem in which they act."""
        return self.plan.config

    @property
    def members(self) -> Population:
        """The members, with their seeds and swept values."""
        return self.plan.members

    def only(self, chosen: np.ndarray) -> "Trained":
        """Some of the members, by their indices."""
        return self._replace(
            plan=dataclasses.replace(self.plan, members=self.members.only(chosen)),
            diverged=self.diverged[chosen],
            agents=[leaf[chosen] for leaf in self.agents],
            stream=[leaf[chosen] for leaf in self.stream],
            host={name: saved[chosen] for name, saved in self.host.items()},
        )

    def where(self, name: str, value: Any) -> "Trained":
        """The members with one value of a swept setting.

        Args:
            name: of the setting, dotted or its last word alone.
            value: one of the swept values, as a number or a text.

        Raises:
            ConfigError, UnknownNameError: if the setting was not swept, or no member has the value.
        """
        dotted, setting = resolve(self.config, name)
        if dotted not in self.members.swept:
            swept = " and ".join(self.members.swept) or "nothing"
            raise ConfigError(f"{name}={value}: the run did not sweep {dotted}, but {swept}")
        chosen = self.members.swept[dotted] == setting.read(value, name)
        if not chosen.any():
            values = ", ".join(map(str, self.config.sweep[dotted]))
            raise ConfigError(f"{name}={value}: no member has this value; the run swept {dotted} over {values}")
        return self.only(np.flatnonzero(chosen))

    def acting_params(self) -> Any:
        """The agents' acting parameters, `(members, ...)` each; a replay stays on the host."""

        def of_member(leaves: Sequence[Array], values: Any) -> Any:
            agent = self.plan.make(values).agent
            # Made for its structure alone: its numbers are not read, and the compiler drops them.
            state = tree_of(leaves, agent.init(jax.random.key(0)))
            if self.task is None or agent.acting_params_for is None:
                return agent.acting_params(state)
            return agent.acting_params_for(state, jnp.int32(self.task))

        return jax.jit(jax.vmap(of_member))(self.agents, self.members.swept)


@dataclasses.dataclass(frozen=True)
class Stored:
    """A shard of a run and its checkpoints, which are read only; another process may work on it.

    Args:
        plan: of the shard's members.
        path: the directory of the shard.
        digest: of the configuration of the run.
    """

    plan: Plan
    path: Path
    digest: str

    @property
    def steps(self) -> list[int]:
        """The steps of the checkpoints, in order."""
        return checkpoints(self.path)

    def read(self, step: int | Literal["best"] | None = None) -> Trained:
        """The members at a checkpoint.

        Args:
            step: of the checkpoint; `"best"`: see `Ranking`; `None`: the newest good one.

        Raises:
            ConfigError: if there is none at `step`, or no best one.
            StoreError: if there is no good one, or another version of the program wrote it.
        """
        plan, step = self.plan, best_checkpoint(self.path) if step == "best" else step
        of_stream = None if plan.loop.has_episodes else functools.partial(plan.problem.init, plan.problem.data)
        like = agent_shapes(plan.components.agent, len(plan.members), of_stream)
        step, arrays = read_checkpoint(self.path, like, step, self.digest)
        agents = agents_in(arrays)
        stream = [] if of_stream is None else agents.problem
        return Trained(plan, step, agents.diverged, agents.states, stream, agents.host)


def stored(path: Path, seeds: Collection[int] | None = None, *, has_episodes: bool) -> list[Stored]:
    """The shards of a run.

    Args:
        path: the run's directory.
        seeds: only shards with one of these; `None`: all shards.
        has_episodes: which runs are wanted: of agents that act, or of streams.

    Raises:
        ConfigError: if the directory is not a run, or one of the other kind, or a seed is missing.
        StoreError: if there is no checkpoint yet, or the data were changed.
    """
    config, digest = _config(path)
    plan, shards = unchecked_plan(config), []
    if has_episodes and not plan.loop.has_episodes:
        raise ConfigError(
            f"{path} is a run of {config.problem.name}, a stream of examples, without episodes; "
            f"its curves: pliant report {path}; its networks: pliant analyze {path}"
        )
    if plan.loop.has_episodes and not has_episodes:
        raise ConfigError(
            f"{path} is a run of {config.problem.name}, whose agents act in environments, and not of a stream of "
            f"examples; its diagnostics: pliant report {path}; its episodes: pliant evaluate {path}"
        )
    chosen = _chosen(path, seeds)
    check_data([shard.path for shard in chosen], data_digest(plan.problem))
    for shard in chosen:
        of_shard = dataclasses.replace(config, seeds=shard.text)
        shards.append(
            Stored(dataclasses.replace(plan, config=of_shard, members=population(of_shard)), shard.path, digest)
        )
    return shards


def load(path: Path, step: int | Literal["best"] | None = None, seeds: Collection[int] | None = None) -> Trained:
    """Reads the agents of a run and changes no file; another process may work on the run.

    Args:
        path: the run's directory.
        step: of the checkpoint; `"best"`: see `Ranking`; `None`: the newest good one.
        seeds: of the agents; `None`: all seeds.

    Raises:
        ConfigError: if the directory is not a run; if its problem is a stream; if there is no checkpoint at `step`, or
            no best one; if a seed is missing; or if the checkpoints of the shards are at different steps.
        StoreError: if there is no good checkpoint, or another version of the program wrote it.
    """
    shards = stored(path, seeds, has_episodes=True)
    parts = [shard.read(step) for shard in shards]
    if step is None:  # where a shard is behind, or its newest checkpoint damaged, the others may have its step
        common = min(part.step for part in parts)
        if all(part.step == common or common in shard.steps for shard, part in zip(shards, parts)):
            parts = [part if part.step == common else shard.read(common) for shard, part in zip(shards, parts)]
    if len({part.step for part in parts}) > 1:
        steps = ", ".join(f"{part.config.seeds} at step {part.step:,}" for part in parts)
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
    first = parts[0]
    members = Population(
        np.concatenate([part.members.seeds for part in parts]),
        {name: np.concatenate([part.members.swept[name] for part in parts]) for name in first.members.swept},
    )
    config = dataclasses.replace(first.config, seeds=seeds_text(set(members.seeds.tolist())))
    return Trained(
        plan=dataclasses.replace(first.plan, config=config, members=members),
        step=first.step,
        diverged=np.concatenate([part.diverged for part in parts]),
        agents=[np.concatenate(leaves) for leaves in zip(*(part.agents for part in parts), strict=True)],
        stream=[np.concatenate(leaves) for leaves in zip(*(part.stream for part in parts), strict=True)],
        host={name: np.concatenate([part.host[name] for part in parts]) for name in first.host},
    )


def _config(path: Path) -> tuple[RunConfig, str]:
    """The configuration of a run, and the digest of its file."""
    file = path / "config.yaml"
    try:
        given = parse(read_text(file))
        return from_mapping(given), digest_of(given)
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(
            f"{path} is not a run: it has no config.yaml; give the path of a run, such as runs/<name>-<hash>"
        ) from None
    except ValueError as error:
        raise ConfigError(f"{file}: {error}") from error
