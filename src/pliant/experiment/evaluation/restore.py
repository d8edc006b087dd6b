"""The agents of a run, as a checkpoint has them."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core.problem import HostEnvironment, Stream
from pliant.experiment.configuration.build import build, problem_of, quietly
from pliant.experiment.configuration.config import RunConfig, from_yaml
from pliant.experiment.errors import ConfigError
from pliant.experiment.loops import device as device_loop
from pliant.experiment.loops.components import Components
from pliant.experiment.loops.programs import Population, plain, population
from pliant.experiment.storage.checkpoints import best_checkpoint, read_checkpoint


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


def load(path: Path, step: int | Literal["best"] | None = None) -> Trained:
    """Reads the agents of a run; changes nothing there, and does not mind a process that is at work.

    Args:
        path: the run's directory.
        step: of the checkpoint; `"best"`: the one with the best evaluations; `None`: the newest good one.

    Raises:
        ConfigError: if this is no run, or no run of an arena, or there is no checkpoint at `step`, or no best one.
        StoreError: if there is no good checkpoint, or another version of the program wrote it.
    """
    config = _config(path)
    members = population(config)
    with quietly():
        problem = problem_of(config)
        if isinstance(problem, Stream):
            raise ConfigError(
                f"{path} is a run of {config.problem.name}, a stream of examples, in which there are no episodes; "
                f"its curves: pliant report {path}"
            )
        components = build(config)
        if step == "best":
            step = best_checkpoint(path)
        if isinstance(problem, HostEnvironment):
            return _from_host_run(path, step, config, members, components)
        return _from_device_run(path, step, config, members, components)


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
