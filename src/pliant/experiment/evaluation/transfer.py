"""Trained agents in environments of another kind than those that they learned in."""

from collections.abc import Sequence

from pliant.core.problem import Spec, Task
from pliant.experiment.configuration.build import build, problem_of, quietly
from pliant.experiment.configuration.config import RunConfig
from pliant.experiment.errors import ConfigError

from .restore import Trained


def transfer(trained: Trained, env: str | None = None, backend: str | None = None) -> Trained:
    """The same agents, in environments of another kind, or stepped by another package.

    Args:
        trained: who acts.
        env: what the problem's setting `env` becomes. `None`: it stays; but if the environments of the run changed from
            task to task, it is the task in which the checkpoint was taken, the last one if that was beyond them all.
        backend: what the problem's setting `backend` becomes, which may be on the device or outside of it; `None`: it
            stays.

    Raises:
        ConfigError: if the problem has no such setting, or refuses the value; or if what the environments show and take
            is not what the agents were built for.
    """
    with quietly():
        home = build(trained.config)
    if env is None and home.tasks:
        env = _task(home.tasks, trained.step).name
    asked = {name: value for name, value in (("env", env), ("backend", backend)) if value is not None}
    config = trained.config
    for name, value in asked.items():
        config = _with(config, name, value)
    try:
        spec = problem_of(config).spec
    except ValueError as error:
        raise ConfigError(str(error)) from error
    built_for, got = _in_words(home.problem.spec), _in_words(spec)
    if got != built_for:
        words = " ".join(f"{name}={value}" for name, value in asked.items())
        raise ConfigError(f"{words}: the agents were built for {built_for}, got {got}; write another kind")
    return trained._replace(config=config)


def _task(tasks: Sequence[Task], step: int) -> Task:
    return next((task for task in tasks if step <= task.until), tasks[-1])


def _with(config: RunConfig, name: str, value: str) -> RunConfig:
    schema = config.problem.schema
    if name not in schema:
        raise ConfigError(f"{name}={value}: {config.problem.name} has no setting {name}; leave it out")
    return config.with_values({f"problem.{name}": schema[name].read(value)})


def _in_words(spec: Spec) -> str:
    """What a spec says: unlike named tuples, the words for `Continuous(2)` and `Discrete(2)` differ."""
    shape = ", ".join(map(str, spec.observation.shape))
    return f"observations {spec.observation.dtype}[{shape}] and actions {spec.action}"
