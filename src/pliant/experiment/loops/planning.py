"""Makes plans; only this module depends on the kind of problem."""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from pliant.core.agent import Agent, Learner
from pliant.core.base import Array
from pliant.core.clock import MOST_STEPS, Task
from pliant.core.notes import collected
from pliant.core.problem import Environment, HostEnvironment, Problem, Stream
from pliant.experiment.configuration.build import build, build_with, first_member, make_problem
from pliant.experiment.configuration.config import ComponentSpec, RunConfig, expand
from pliant.experiment.devices import GIB, available_memory
from pliant.experiment.errors import ConfigError

from .device import DeviceLoop
from .host.loop import HostLoop
from .measuring import SEED, nbytes
from .plan import Loop, Plan
from .population import population
from .saving import plain
from .stream import StreamLoop

_LOOPS: Mapping[type, Loop] = {Stream: StreamLoop(), Environment: DeviceLoop(), HostEnvironment: HostLoop()}


class Problems:
    """Makes each problem once, and shares it among runs."""

    def __init__(self):
        self._made: list[tuple[ComponentSpec, ComponentSpec | None, Problem]] = []

    def __call__(self, config: RunConfig) -> Problem:
        """The problem of a configuration."""
        for spec, network, problem in self._made:
            if (spec, network) == (config.problem, config.network):
                return problem
        self._made.append((config.problem, config.network, make_problem(config)))
        return self._made[-1][2]


def plans(config: RunConfig, problem_of: Problems | None = None) -> list[Plan]:
    """One plan for each program that a configuration needs; all are checked before any of them runs.

    Args:
        config: with any sweep.
        problem_of: problems that exist already, for plans that share them.

    Raises:
        ConfigError: if a component refuses a value, or the agents of a run do not fit into memory.
    """
    problem_of = problem_of or Problems()
    runs = expand(config, lambda config, name: _can_be_traced(config, name, problem_of))
    return [_checked(_planned(run, problem_of)) for run in runs]


def plan(config: RunConfig) -> Plan:
    """The plan of a configuration whose sweep is one program, checked.

    Raises:
        ConfigError: if a component refuses a value, or the agents do not fit into memory.
    """
    return _checked(unchecked_plan(config))


def unchecked_plan(config: RunConfig) -> Plan:
    """The plan of agents that exist already; only the components of the first member are made.

    Raises:
        ConfigError: if a component refuses a value.
    """
    return _planned(config, Problems())


def with_problem(plan: Plan, config: RunConfig, problem: Problem) -> Plan:
    """The plan of the same members with another problem, and the loop that suits it.

    The tasks stay those of the run, for which the agents have room.

    Args:
        plan: of the members.
        config: with the settings of the problem.
        problem: with the same observations and actions as the plan's problem.

    Raises:
        ConfigError: if the agent refuses the problem.
    """
    problem = problem._replace(tasks=plan.problem.tasks)
    components = build(first_member(config), problem)
    return dataclasses.replace(plan, config=config, problem=problem, loop=_LOOPS[type(problem)], components=components)


def _planned(config: RunConfig, problem_of: Problems) -> Plan:
    first = first_member(config)
    with collected() as notes:
        problem = problem_of(first)
    _check_names_and_ends(config.problem.name, problem.tasks)
    components = build(first, problem)
    notes = (*notes, *components.notes)
    return Plan(config, population(config), problem, _LOOPS[type(problem)], components, notes)


def _checked(plan: Plan) -> Plan:
    """The plan with the notes of all members, after making the components of each."""
    notes = [*plan.notes]
    _check_tasks(plan)
    state = _initial_state(plan.components.agent)
    for values in plan.combinations[1:]:
        components = plan.make(values)
        _initial_state(components.agent)
        notes += components.notes
    _check_memory(len(plan.members), state)
    return dataclasses.replace(plan, notes=tuple(dict.fromkeys(notes)))


def _check_names_and_ends(problem: str, tasks: Sequence[Task]) -> None:
    for index, task in enumerate(tasks):
        if not isinstance(task.name, str):
            raise ConfigError(
                f"{problem}: task {index} has the name {task.name!r}; write a text, such as '{task.name}'"
            )
        if not isinstance(task.until, int):
            raise ConfigError(f"{problem}: task {task.name} ends at step {task.until!r}; write a whole number, an int")
        if task.until > MOST_STEPS:
            raise ConfigError(
                f"{problem}: task {task.name} ends at step {task.until:,}, and a run has at most {MOST_STEPS:,} steps; "
                "write fewer tasks, or shorter ones"
            )


def _check_tasks(plan: Plan) -> None:
    """Refuses tasks without a round of their own, and evaluations and trials in tasks in which nobody can be put."""
    name, tasks, asked = plan.config.problem.name, plan.tasks, plan.config.evaluate_tasks
    for before, task in itertools.pairwise(tasks):
        if before.until == task.until:
            raise ConfigError(
                f"{name}: the tasks {before.name} and {task.name} both end at step {task.until:,}, because the agent "
                f"learns from {plan.steps_at_once:,} steps at once; write longer tasks, or a shorter horizon"
            )
    agent = plan.components.agent
    has_trials = isinstance(agent, Agent) and agent.trials is not None
    if not asked and not has_trials:
        return
    if asked and not tasks:
        raise ConfigError(f"evaluate_tasks={asked}: {name} has no tasks; leave it out")
    has_init_task = isinstance(plan.problem, Environment) and plan.problem.init_task is not None
    if not has_init_task and "env" not in plan.config.problem.schema:
        what = f"evaluate_tasks={asked}" if asked else "a continual method with trials"
        raise ConfigError(
            f"{what}: {name} has no environments for one of its tasks alone, neither by init_task nor by a setting "
            "env; leave it out"
        )


def _initial_state(agent: Agent | Learner) -> Any:
    """The shapes of an agent's initial state; refuses an agent whose state cannot be made."""
    try:
        return jax.eval_shape(agent.init, jax.random.key(0))
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _check_memory(members: int, state: Any) -> None:
    """Refuses a population whose agents are larger than memory; nothing is allocated."""
    size = members * nbytes(jax.eval_shape(functools.partial(jax.tree.map, plain), state))
    there_is = available_memory()
    if there_is is not None and size > there_is:
        raise ConfigError(
            f"the agents of {members} members take {size / GIB:,.1f} GiB of memory, but there are "
            f"{there_is / GIB:,.1f} GiB; write fewer seeds, or an agent that keeps less"
        )


def _can_be_traced(config: RunConfig, dotted: str, problem_of: Problems) -> bool:
    """Whether the values of a setting can be swept inside one program, whose shapes must not depend on them.

    Floating-point numbers can, unless Python code branches on them. Whole numbers are tried in methods only: in
    problems and agents they are sizes.
    """
    where, _, key = dotted.rpartition(".")
    component = config.components()[where]
    kind = component.schema[key].type
    if kind is not float and not (kind is int and component.kind == "methods"):
        return False
    first = first_member(config)
    problem = problem_of(first)
    loop = _LOOPS[type(problem)]
    if not loop.can_sweep("problems" if component.kind == "networks" else component.kind):
        return False

    def in_short(seed: Array, value: Array, shared: Any) -> Any:
        return loop.in_short(build_with(first, {dotted: value}, problem), seed, shared)

    value = jax.ShapeDtypeStruct((), jnp.float32 if kind is float else jnp.int32)
    try:
        jax.eval_shape(in_short, SEED, value, loop.shared(problem))
    except (jax.errors.JAXTypeError, jax.errors.JAXIndexError):
        return False
    return True
