"""Settings of the scenarios, and the sequence of tasks that they describe."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pliant.core import registry
from pliant.core.clock import MOST_STEPS, Task
from pliant.core.problem import Environment, HostEnvironment
from pliant.core.settings import AtLeast, require_one_of
from pliant.presets._crl import continual_settings

from ._tasks import SCENARIOS, TASKS, Change, Domain, random_change

EPISODES = 10  # of each task, in the evaluation at the end of each task

ENGINES = ("mujoco", "v1")

_RANDOM = "random"


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a sequence of tasks; the defaults are those of the published program, except for the engine."""

    scenario: str = "forgetting"
    """The sequence: forgetting, transfer, robustness or compositionality (humanoid: hard), or random: each task has
    gravity, friction, masses and radii of its own, drawn at random."""
    tasks: str = ""
    """Names of tasks in order, with commas between them, in the place of the scenario's; random_0, random_1, ... are
    those of the scenario random. Empty: the scenario's."""
    repeat: Annotated[int, AtLeast(0)] = 0
    """How often the tasks come, one after another; 0: as often as the scenario says, and your own tasks once."""
    length: Annotated[int, AtLeast(1)] = 100
    """Tasks of the scenario random."""
    draw: Annotated[int, AtLeast(0)] = 0
    """Which random tasks: each number stands for other ones."""
    task_steps: Annotated[int, AtLeast(1)] = 999_936
    """Length of each task (steps over all environments of a member, of which whole steps of all environments count)."""
    env: str = ""
    """One task for the whole run, such as moon; the other settings then give the run's length only. Empty: the tasks
    in turn."""
    num_envs: Annotated[int, AtLeast(1)] = 128
    """Environments of each member, side by side."""
    engine: Literal["mujoco", "v1"] = "mujoco"
    """The physics: mujoco, today's MuJoCo, outside of the device; or v1, the published experiments' engine, on the
    device."""


class Sequence(NamedTuple):
    """The tasks of a run, and the change of each."""

    tasks: tuple[Task, ...]
    changes: tuple[Change, ...]


def published_continual_settings(
    domain: Domain,
) -> Callable[[Mapping[str, Any]], Mapping[str, Mapping[str, Any]]]:
    """The published settings of continual methods, by name, for the settings of a problem; none for own tasks."""

    def of_scenario(settings: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
        return {} if settings["tasks"] else continual_settings(domain, settings["scenario"])

    return of_scenario


def sequence(domain: Domain, settings: Settings) -> Sequence:
    """The tasks that the settings describe.

    Raises:
        ValueError: if there is no such scenario or task, or the run is too short or too long.
    """
    tasks = tasks_of(_names(domain, settings), settings.task_steps, settings.num_envs, settings.env)
    return Sequence(tasks, tuple(_change(domain, task.name, settings.draw) for task in tasks))


def tasks_of(names: tuple[str, ...], task_steps: int, num_envs: int, env: str) -> tuple[Task, ...]:
    """Tasks of equal length, or one task that is as long as all of them.

    Args:
        names: of the tasks, in order.
        task_steps: length of each; whole steps of all environments count.
        num_envs: environments of each member.
        env: name of the one task; empty: the tasks in turn.

    Raises:
        ValueError: if the run is too short or too long.
    """
    steps = task_steps // num_envs * num_envs
    if not 0 < steps * len(names) <= MOST_STEPS:
        raise ValueError(
            f"task_steps={task_steps} with {len(names)} tasks and num_envs={num_envs}: write at least {num_envs}, and "
            f"at most {MOST_STEPS // len(names)}"
        )
    if env:
        return (Task(env, steps * len(names)),)
    return tuple(Task(name, steps * number) for number, name in enumerate(names, 1))


def named(tasks: str) -> tuple[str, ...]:
    """The names in a text with commas between them."""
    return tuple(name.strip() for name in tasks.split(","))


def environment(domain: Domain, settings: Settings) -> Environment | HostEnvironment:
    """The sequence as an environment of the chosen engine.

    Raises:
        ValueError: as `sequence`, or if the engine is unknown or not installed.
    """
    require_one_of("engine", settings.engine, ENGINES)
    tasks, changes = sequence(domain, settings)
    if settings.engine == "v1":
        from . import _v1

        return _v1.environment(domain, changes, tasks, settings.num_envs)
    from . import _mujoco

    return _mujoco.host_environment(domain, changes, tasks, settings.num_envs)


def _names(domain: Domain, settings: Settings) -> tuple[str, ...]:
    if settings.tasks:
        return named(settings.tasks) * max(settings.repeat, 1)
    registry.check(f"scenario of {domain}", settings.scenario, [*SCENARIOS[domain], _RANDOM])
    if settings.scenario == _RANDOM:
        return tuple(f"{_RANDOM}_{index}" for index in range(settings.length)) * max(settings.repeat, 1)
    scenario = SCENARIOS[domain][settings.scenario]
    return scenario.tasks * (settings.repeat or scenario.repeat)


def _change(domain: Domain, name: str, draw: int) -> Change:
    index = re.fullmatch(rf"{_RANDOM}_(\d+)", name)
    if index:
        return random_change(domain, draw, int(index[1]))
    registry.check(f"task of {domain}", name, TASKS[domain])
    return TASKS[domain][name]
