"""The suite from Python: run an experiment, read its results, let its agents act.

run = pliant.run("hopper/std", seeds=4)  # what `pliant run hopper/std --seeds 4` does
run.metrics                              # tidy rows: seed, swept settings, step, metric, group, value
agent = run.agent(step="best")
action = agent.act(observation)
"""

import dataclasses
import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import pandas as pd

from pliant import report
from pliant.core import registry
from pliant.experiment.configuration.config import RunConfig, from_mapping
from pliant.experiment.errors import ConfigError
from pliant.experiment.evaluation import restore
from pliant.experiment.loops.plan import Mode
from pliant.experiment.loops.planning import plans
from pliant.experiment.progress import OnProgress
from pliant.experiment.run import run as run_plan


def run(
    config: str | Mapping[str, Any] | RunConfig | None = None,
    /,
    *,
    folder: str | os.PathLike[str] = "runs",
    force: bool = False,
    on_progress: OnProgress = lambda done, total: None,
    **fields: Any,
) -> "Run":
    """Runs an experiment, resumes it, or finds it finished; the same run as by `pliant run`.

    Args:
        config: a problem (`"hopper"`), a preset of it (`"hopper/std"`), a mapping as in a YAML file, or a `RunConfig`.
        folder: where run directories lie.
        force: run the seeds again that are finished.
        on_progress: is called with `(done, total)` after every chunk.
        fields: fields of a configuration, which replace those of `config`: `problem`, `agent`, `methods`,
            `diagnostics`, `seeds` (a number of them, or a text such as `"0-9,20"`), `sweep`, `record_every`,
            `seed_axis`, `evaluate_every`, `evaluate_episodes`.

    Returns:
        The run, with its results.

    Raises:
        ConfigError, UnknownNameError: one line that names the field and what is allowed; nothing was run.
        StoreError: if the directory cannot be written, or another process works on one of the seeds.

    Example:
        >>> import pliant, tempfile
        >>> problem = {"name": "slowly_changing_regression", "examples": 2000}
        >>> run = pliant.run(problem=problem, methods=["redo"], seeds=2, folder=tempfile.mkdtemp())
        >>> sorted(set(run.metrics["seed"]))
        [0, 1]
    """
    asked = _configuration(config, fields)
    found = plans(asked)
    if len(found) > 1:
        swept = ", ".join(name for name in asked.sweep if name not in found[0].config.sweep)
        raise ConfigError(
            f"sweep of {swept}: each value needs a run of its own; call pliant.run for each of the {len(found)}"
        )
    return Run(run_plan(found[0], Path(folder), force=force, on_progress=on_progress))


def load(path: str | os.PathLike[str]) -> "Run":
    """Opens the directory of a run, finished or not.

    Args:
        path: such as `runs/<name>-<hash>`.

    Raises:
        ValueError: if the directory is not a run.
        DamagedRunError: if none of its shards can be read.
    """
    opened = Run(Path(path))
    _ = opened.results
    return opened


@dataclasses.dataclass(frozen=True)
class Run:
    """A run in its directory.

    Args:
        path: the directory.
    """

    path: Path

    @functools.cached_property
    def results(self) -> report.Run:
        """All that the directory says, as `pliant.report` reads it."""
        return report.load(self.path)

    @property
    def config(self) -> dict[str, Any]:
        """The configuration without seeds, as in the YAML file."""
        return self.results.config

    @property
    def metrics(self) -> pd.DataFrame:
        """One row a measurement, with the columns `seed`, the swept settings, `step`, `metric`, `group`, `value`."""
        return self.results.metrics

    def summary(self) -> report.Table:
        """The last value of each metric, with its interval over seeds."""
        return report.summary(self.results)

    def curves(self, metric: str, **how: Any) -> list[report.Curve]:
        """The curves of a metric, one for each value of the swept settings; `how` as of `pliant.report.curves_of`."""
        return report.curves_of(self.results, metric, **how)

    def agent(
        self,
        step: int | Literal["best"] | None = None,
        *,
        seed: int | None = None,
        where: Mapping[str, float] | None = None,
    ) -> "TrainedAgent":
        """One trained agent of the run.

        Args:
            step: of the checkpoint; `"best"`: the one with the best evaluations; `None`: the newest.
            seed: whose agent; `None`: the first seed's.
            where: of a run with a sweep, the values by dotted name: `{"agent.learning_rate": 0.01}`; `None`: the
                first of each.

        Raises:
            ConfigError: if the run has no agents that act, no such seed, value or checkpoint.
        """
        trained = restore.load(self.path, step, None if seed is None else {seed})
        chosen = np.ones(len(trained.members), bool)
        for name, value in (where or {}).items():
            registry.check("swept setting", name, trained.members.swept)
            chosen &= np.isclose(trained.members.swept[name], value)
        if not chosen.any():
            raise ConfigError(f"where={dict(where or {})}: no member of {self.path} has these values")
        return TrainedAgent(trained.only(np.flatnonzero(chosen)[:1]))


class TrainedAgent:
    """An agent that acts without learning, in any loop of one's own: NumPy in, NumPy out.

    A recurrent agent keeps its carry from one call to the next: call `reset` where an episode begins.

    Args:
        trained: one member of a run.
        key: a seed for sampled actions.
    """

    def __init__(self, trained: restore.Trained, key: int = 0):
        values = {name: swept[0] for name, swept in trained.members.swept.items()}
        self.step = trained.step
        self.seed = int(trained.members.seeds[0])
        self.spec = trained.plan.problem.spec
        self._agent = trained.plan.make(values).agent
        self._params = jax.tree.map(lambda leaf: np.asarray(leaf)[0], trained.acting_params())
        self._steps = 0

        def act(carry: Any, observation: Any, is_first: Any, step: Any, greedy: bool) -> tuple[Any, Any]:
            step_key = jax.random.fold_in(jax.random.key(key), step)
            return self._agent.act(self._params, carry, observation, is_first, step_key, greedy=greedy)[:2]

        self._act = jax.jit(act, static_argnames="greedy")
        self.reset()

    def reset(self) -> None:
        """Forgets the episodes so far: the next observation is the first of its episode."""
        self._carry: Any = None
        self._shape: tuple[int, ...] | None = None

    def act(self, observation: Any, *, mode: Mode = "greedy") -> np.ndarray:
        """The action for an observation, or those for a batch of them.

        Args:
            observation: as the problem shows it, or with one leading axis of environments side by side.
            mode: `"greedy"` takes the most probable action, `"sampled"` a random one as in training.

        Returns:
            The action, with the same leading axis.

        Raises:
            ValueError: if the observation is not of the shape that the agent was built for.
        """
        given, shape = np.asarray(observation, self.spec.observation.dtype), self.spec.observation.shape
        alone = given.shape == shape
        if not alone and given.shape[1:] != shape:
            raise ValueError(
                f"observation of shape {given.shape}: the agent was built for {shape}; write that, or (batch, *{shape})"
            )
        batch = given[None] if alone else given
        is_first = self._shape != batch.shape
        if is_first:
            self._carry, self._shape = self._agent.initial_carry(len(batch)), batch.shape
        firsts, step = np.full(len(batch), is_first), np.uint32(self._steps)
        self._carry, action = self._act(self._carry, batch, firsts, step, greedy=mode == "greedy")
        self._steps += 1
        return np.asarray(action)[0] if alone else np.asarray(action)


def _configuration(config: str | Mapping[str, Any] | RunConfig | None, fields: Mapping[str, Any]) -> RunConfig:
    """The configuration that is meant: `config`, with some fields replaced."""
    if isinstance(config, RunConfig):
        given = config.to_mapping()
    elif isinstance(config, str):
        problem, _, preset = config.partition("/")
        registry.check("problem", problem, registry.names("problems"))
        presets = registry.presets(problem)
        if preset:
            registry.check(f"preset of {problem}", preset, presets)
        given = presets[preset] if preset else {"problem": problem}
    else:
        given = dict(config or {})
    if "seeds" in fields:
        fields = {**fields, "seeds": str(fields["seeds"])}
    return from_mapping({**given, **fields})
