"""Trained agents in other environments than those of training."""

from collections.abc import Mapping

from pliant.core import registry
from pliant.core.clock import Calendar, Task
from pliant.core.problem import Spec
from pliant.experiment.configuration.build import first_member, make_problem
from pliant.experiment.configuration.config import RunConfig
from pliant.experiment.errors import ConfigError
from pliant.experiment.loops.plan import Plan
from pliant.experiment.loops.planning import with_problem

from .restore import Trained


def transfer(trained: Trained, env: str | None = None, backend: str | None = None, task: str | None = None) -> Trained:
    """The same agents in other environments, or in environments of another package.

    Args:
        trained: the agents.
        env: the new value of the problem's setting `env`. `None`: the old value, or, if the run had tasks, that of
            `task`.
        task: of the run, a name, an index from 0, or `INDEX/NAME`: the agents act as their continual method lets them
            act on this task. The latest task of a name that has ended or begun at the checkpoint counts. `None`: the
            task of the checkpoint; after the last task, the last task.
        backend: the new value of the problem's setting `backend`, on the device or outside of it. `None`: the old
            value.

    Raises:
        ConfigError: if the problem does not have the setting, or refuses the value; or if the environments have other
            observations or actions than those of training.
    """
    tasks = trained.plan.tasks
    if task is not None and env is not None:
        raise ConfigError(f"task={task} and env={env}: write one of the two")
    if task is not None and not tasks:
        raise ConfigError(f"task={task}: {trained.config.problem.name} has no tasks; leave it out")
    if env is None and tasks:
        index = Calendar(tasks).task(trained.step - 1) if task is None else _index(task, tasks, trained.step)
        env, trained = tasks[index].name, trained._replace(task=int(index))
    asked = {name: value for name, value in (("env", env), ("backend", backend)) if value is not None}
    return trained._replace(plan=elsewhere(trained.plan, asked))


def elsewhere(plan: Plan, settings: Mapping[str, str]) -> Plan:
    """The plan with settings of the problem replaced; without any, the plan itself.

    Raises:
        ConfigError: see `transfer`.
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


def _index(task: str, tasks: tuple[Task, ...], step: int) -> int:
    """The index of a task by its name, its index, or `INDEX/NAME`."""
    names = [of_run.name for of_run in tasks]
    whole = [f"{index}/{name}" for index, name in enumerate(names)]
    if task in whole:
        return whole.index(task)
    if task.isdecimal() and int(task) < len(tasks):
        return int(task)
    registry.check("task of the run", task, dict.fromkeys(names))
    begun = [index for index in range(len(tasks)) if names[index] == task and Calendar(tasks).starts[index] < step]
    return begun[-1] if begun else names.index(task)


def task_at(tasks: tuple[Task, ...], step: int) -> Task:
    """The task of a member's step with this number; after the last task, the last task."""
    return tasks[Calendar(tasks).task(step - 1)]


def _with(config: RunConfig, name: str, value: str) -> RunConfig:
    schema = config.problem.schema
    if name not in schema:
        raise ConfigError(f"{name}={value}: {config.problem.name} has no setting {name}; leave it out")
    return config.with_values({f"problem.{name}": schema[name].read(value)})


def _in_words(spec: Spec) -> str:
    """A spec in words, which differ for `Continuous(2)` and `Discrete(2)`, while the named tuples are equal."""
    shape = ", ".join(map(str, spec.observation.shape))
    return f"observations {spec.observation.dtype}[{shape}] and actions {spec.action}"
