"""Trained agents in environments of another kind than those that they learned in."""

from collections.abc import Mapping, Sequence

from pliant.core.problem import Spec, Task
from pliant.experiment.configuration.build import first_member, make_problem
from pliant.experiment.configuration.config import RunConfig
from pliant.experiment.errors import ConfigError
from pliant.experiment.loops.plan import Plan
from pliant.experiment.loops.planning import with_problem

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
    if env is None and trained.plan.tasks:
        env = task_at(trained.plan.tasks, trained.step).name
    asked = {name: value for name, value in (("env", env), ("backend", backend)) if value is not None}
    return trained._replace(plan=elsewhere(trained.plan, asked))


def elsewhere(plan: Plan, settings: Mapping[str, str]) -> Plan:
    """The plan with settings of the problem replaced; without any, the plan itself.

    Raises:
        ConfigError: as `transfer`.
    """
    config = plan.config
    for name, value in settings.items():
        config = _with(config, name, value)
    if config.problem == plan.config.problem:
        return plan
    problem = make_problem(first_member(config))
    built_for, got = _in_words(plan.problem.spec), _in_words(problem.spec)
    if got != built_for:
        words = " ".join(f"{name}={value}" for name, value in settings.items())
        raise ConfigError(f"{words}: the agents were built for {built_for}, got {got}; write another kind")
    return with_problem(plan, config, problem)


def task_at(tasks: Sequence[Task], step: int) -> Task:
    """The task in which a member makes its step of this number; the last one beyond them all."""
    return next((task for task in tasks if step <= task.until), tasks[-1])


def _with(config: RunConfig, name: str, value: str) -> RunConfig:
    schema = config.problem.schema
    if name not in schema:
        raise ConfigError(f"{name}={value}: {config.problem.name} has no setting {name}; leave it out")
    return config.with_values({f"problem.{name}": schema[name].read(value)})


def _in_words(spec: Spec) -> str:
    """A spec in words: unlike named tuples, the words for `Continuous(2)` and `Discrete(2)` differ."""
    shape = ", ".join(map(str, spec.observation.shape))
    return f"observations {spec.observation.dtype}[{shape}] and actions {spec.action}"
