"""The suite from Python: runs, their results, and their agents.

run = pliant.run("hopper/std", seeds=4)  # the run of `pliant run hopper/std --seeds 4`
run.metrics                              # a tidy frame: seed, swept settings, step, metric, group, value
action = run.agent(step="best").act(observation)
"""

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from pliant import report
from pliant.core import sources
from pliant.core.notes import log_once
from pliant.core.settings import Whole, require
from pliant.experiment import run as runner
from pliant.experiment.configuration.config import RunConfig
from pliant.experiment.configuration.reading import from_mapping, named
from pliant.experiment.errors import ConfigError, echo
from pliant.experiment.evaluation import analyze, restore
from pliant.experiment.evaluation.trained_agent import TrainedAgent as TrainedAgent
from pliant.experiment.evaluation.transfer import transfer
from pliant.experiment.loops.planning import plans
from pliant.experiment.progress import OnProgress


def run(
    config: str | Mapping[str, Any] | RunConfig | None = None,
    /,
    *,
    folder: str | os.PathLike[str] = "runs",
    force: bool = False,
    on_progress: OnProgress | None = None,
    **fields: Any,
) -> "Run":
    """Runs a configuration, or resumes its run, or finds the run finished; `pliant run` has the same runs.

    Args:
        config: a problem (`"hopper"`), a preset (`"hopper/std"`), a mapping as in a configuration file, or a
            `RunConfig`.
        folder: where run directories lie.
        force: compute the seeds again even if there are results.
        on_progress: is called with `(done, total)` after every chunk.
        fields: fields that replace those of `config`: `problem`, `network`, `agent`, `methods`, `continual`,
            `diagnostics`, `seeds`, `sweep`, `record_every`, `seed_axis`, `acting`, `evaluate_every`,
            `evaluate_episodes`, `evaluate_tasks`, `keep_checkpoints`. A problem or an agent without a `name` changes
            settings of `config`: `agent={"learning_rate": 1e-3}`. A function, a module or a file
            (`"my_methods.py:my_method"`) stands for a component of one's own; `method=x` is `methods=[x]`.

    Returns:
        The run with all its seeds, also seeds of earlier calls.

    Raises:
        ConfigError, UnknownNameError: if the configuration cannot be run, or its sweep needs several runs.
        StoreError: if the directory cannot be written, or another process works on one of the seeds.
        Interrupted: after Ctrl-C, when everything is saved; the same call resumes the run.

    Example:
        >>> import tempfile
        >>> problem = {"examples": 2000, "flip_every": 1000}
        >>> run = pliant.run(
        ...     "slowly_changing_regression", problem=problem, methods=["redo"], seeds=2, folder=tempfile.mkdtemp()
        ... )
        >>> sorted(set(run.metrics["seed"]))
        [0, 1]
    """
    whole = _configuration(config, fields)
    one, *others = plans(whole)
    if others:
        apart = " and ".join(name for name in whole.sweep if name not in one.config.sweep)
        raise ConfigError(
            f"sweep of {apart}: its values need {1 + len(others)} runs; write a loop with one pliant.run for each value"
        )
    log_once(one.notes)
    path = runner.run(one, Path(folder), force=force, on_progress=on_progress or (lambda done, total: None))
    return load(path)


def load(path: str | os.PathLike[str], *, own: Sequence[Any] = ()) -> "Run":
    """Reads the directory of a run, finished or not; another process may be working on it.

    Args:
        path: the directory, such as `runs/<name>-<hash>`.
        own: the user's own components in the run, for its agents: files, which are executed when an agent is made,
            functions or modules. After `run` in the same process they are known.

    Raises:
        ValueError: if the directory is not a run, or has no results yet.
        DamagedRunError: if all its shards are damaged.
    """
    for component in own:
        if isinstance(component, str | os.PathLike):
            sources.add_file(os.fspath(component))
        else:
            sources.in_program(component)
    return Run(Path(path), report.load(path))


@dataclasses.dataclass(frozen=True)
class Run:
    """A run and its results at the time of reading.

    Args:
        path: the directory.
        results: for the functions of `pliant.report`.
    """

    path: Path
    results: report.Run = dataclasses.field(repr=False)

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """The configuration with all seeds of the run, as in a configuration file; `run(config)` finds this run."""
        return {**self.results.config, "seeds": ",".join(shard.name for shard in self.results.shards)}

    @property
    def metrics(self) -> pd.DataFrame:
        """A row for each measurement: `seed`, the swept settings by dotted name, `step`, `metric`, `group`, `value`."""
        return self.results.metrics

    def summary(self) -> report.Table:
        """The table of `pliant report`: each metric at the end, with an interval over seeds."""
        return report.summary(self.results)

    def curves(self, metric: str, **options: Any) -> list[report.Curve]:
        """The curves of a metric with intervals, one for each value of the swept settings.

        Args:
            metric: which metric.
            options: those of `pliant.report.curves_of`, such as `bin` and `statistic`.

        Raises:
            ValueError: if the run has no such metric.
        """
        return report.curves_of(self.results, metric, **options)

    def agent(
        self,
        step: int | Literal["best"] | None = None,
        seed: int | None = None,
        where: Mapping[str, Any] | None = None,
        task: str | None = None,
    ) -> TrainedAgent:
        """The agent of one member, from a checkpoint.

        Args:
            step: of the checkpoint; `"best"`: the one with the highest mean of the evaluations up to it, the latest 20
                at most, over all members of its shard; `None`: the newest.
            seed: of the member; `None`: the first of the run.
            where: the value of each swept setting, `{"learning_rate": 1e-3}`; `None` without swept settings.
            task: of the run, a name, an index from 0, or `INDEX/NAME`: the agent acts as its continual method lets it
                act on this task, whose environment is its `problem`. `None`: the task of the checkpoint.

        Raises:
            ConfigError: if there is no such checkpoint, task or member, if the member diverged, or if the run is of a
                stream.
            StoreError: if the checkpoint cannot be read.
        """
        if not isinstance(seed, int | np.integer | None):
            raise ConfigError(f"seed={echo(repr(seed))}: write a whole number")
        if not isinstance(step, int | np.integer | None) and step != "best":
            raise ConfigError(f"step={echo(repr(step))}: write the steps of a checkpoint, a whole number, or 'best'")
        trained = restore.load(self.path, step, None if seed is None else [seed])
        for name, value in (where or {}).items():
            trained = trained.where(name, value)
        members = trained.members
        several = [name for name, values in members.swept.items() if len(set(values)) > 1]
        if several:
            values = ", ".join(map(str, sorted(set(members.swept[several[0]].tolist()))))
            raise ConfigError(f"{self.path} swept {several[0]} over {values}; write where={{{several[0]!r}: VALUE}}")
        if trained.diverged[0] >= 0:
            raise ConfigError(
                f"seed {members.seeds[0]} of {self.path} diverged at step {trained.diverged[0]:,}: it cannot act; "
                "write another seed"
            )
        one = trained.only(np.array([0]))
        return TrainedAgent(one if task is None else transfer(one, task=task))

    def analyze(
        self,
        diagnostics: Sequence[Any] | None = None,
        *,
        steps: Sequence[int] | None = None,
        seeds: Sequence[int] | None = None,
        examples: int = 0,
        train_mode: bool = False,
    ) -> pd.DataFrame:
        """Measures the networks of a run of a stream at its checkpoints, as `pliant analyze` does; writes no file.

        Args:
            diagnostics: names, or mappings with a name and settings; `None`: those of a published analysis.
            steps: of the checkpoints; `None`: all that there are.
            seeds: of the members; `None`: all seeds.
            examples: on which diagnostics are measured; 0: 1000 of the problem's splits, or as many as while learning.
            train_mode: whether norms use the statistics of the examples, or the running statistics.

        Returns:
            One row per number: `seed`, the swept settings, `step`, `task` (tasks before the checkpoint), `examples`,
            `metric`, `group`, `value`.

        Raises:
            ConfigError: if the run is not of a stream, or has no such checkpoint, seed or diagnostic.
            StoreError: if a checkpoint cannot be read.

        Example:
            >>> import tempfile
            >>> problem = {"data": "digits", "tasks": 2, "change_every": 60, "batch_size": 5, "hidden_units": 8}
            >>> run = pliant.run("permuted_mnist", problem=problem, diagnostics=[], folder=tempfile.mkdtemp())
            >>> numbers = run.analyze(["weight_magnitude"])
            >>> sorted(set(numbers["step"]))
            [0, 12, 24]
        """
        for name, numbers in (("steps", steps), ("seeds", seeds)):
            if isinstance(numbers, str) or not all(isinstance(one, int | np.integer) for one in numbers or ()):
                raise ConfigError(f"{name}={echo(repr(numbers))}: write a list of whole numbers, such as [0, 1]")
        require("examples", examples, Whole(0))
        return analyze.analyze(
            self.path,
            analyze.read_diagnostics(diagnostics),
            steps=steps,
            seeds=seeds,
            examples=examples,
            train_mode=train_mode,
        )


_COMPONENTS = ("problem", "network", "agent", "methods", "continual", "diagnostics")


def _configuration(config: Any, fields: Mapping[str, Any]) -> RunConfig:
    """The configuration with some fields changed."""
    given = (
        config.to_mapping() if isinstance(config, RunConfig) else named(config) if isinstance(config, str) else config
    )
    if given is not None and not isinstance(given, Mapping):
        raise ConfigError(f"config={config!r}: write a problem, PROBLEM/PRESET, a mapping or a RunConfig")
    whole, fields = dict(given or {}), dict(fields)
    if "method" in fields:
        if "methods" in fields:
            raise ConfigError("method and methods: write one of the two")
        fields["methods"] = [fields.pop("method")]
    for name, value in fields.items():
        if name in _COMPONENTS:
            value = list(map(_with_source, value)) if isinstance(value, list | tuple) else _with_source(value)
        if name in ("problem", "agent") and isinstance(value, Mapping) and "name" not in value:
            before = whole.get(name, {})
            value = {**({"name": before} if isinstance(before, str) else before), **value}
        whole[name] = value
    _check_fields(whole)
    return from_mapping(whole)


def _check_fields(whole: Mapping[str, Any]) -> None:
    """Refuses a setting of the problem or the agent in the place of a field, and shows where it belongs."""
    fields = [field.name for field in dataclasses.fields(RunConfig)]
    unknown = [name for name in whole if name not in fields]
    if not unknown or "problem" not in whole:
        return
    known = from_mapping({name: value for name, value in whole.items() if name in fields})
    for where in ("problem", "agent"):
        component = known.components()[where]
        for name in unknown:
            if name in component.schema:
                value = echo(repr(whole[name]))
                raise ConfigError(
                    f"{name}={value}: a setting of the {where} {component.name}; write {where}={{'{name}': {value}}}"
                )


def _with_source(component: Any) -> Any:
    """The plain data of a component, given as in `run`: of the user's own the name and the source."""
    if isinstance(component, Mapping) and "name" in component:
        named = _with_source(component["name"])
        return {**component, **named} if isinstance(named, Mapping) else component
    if sources.names_file(component):
        return sources.in_file(component)
    is_plain = component is None or isinstance(component, str | Mapping)
    return component if is_plain else sources.in_program(component)
