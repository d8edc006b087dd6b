"""A problem with a curriculum, in both forms, whose episodes can be told beforehand, and which can be looked at; and an
agent that remembers each task.

Episodes of `short` have 2 steps, those of `long` 4, and of `wide` 2; they are without end but for a time limit. A step
is rewarded by 1 more than its action, as in `uneven`, whose agent acts here. Every other episode is a success, from the
first on. What is seen is a tenth of the steps of an episode so far, in `wide` twice.

The agent that remembers is that of `uneven`, which acts on each finished task by its mean at the end of it, and whose
mean is greater by 100 from the beginning of each later task on.
"""

import dataclasses
from typing import Any, Literal, NamedTuple

import environments
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys
import uneven

from pliant.core.agent import Agent
from pliant.core.clock import Task
from pliant.core.continual import Memory
from pliant.core.problem import Continuous, Environment, HostEnvironment, Spec, Timestep, Views

LENGTHS = {"short": 2, "long": 4, "wide": 2}
TASKS = (Task("short", 32), Task("long", 64))
NOTE = "A note [on] what is told."


@dataclasses.dataclass(frozen=True)
class Staged:
    """Settings of the problem."""

    steps: int = 64
    """Length of a run."""
    env: str = ""
    """Of which kind; empty: as the tasks say."""
    backend: Literal["device", "host"] = "device"
    """In which form."""
    init_task: bool = False
    """Whether the environments can stay in each of the tasks."""
    num_envs: int = 2
    """How many there are."""


class State(NamedTuple):
    stays: Any  # () the length of all episodes; 0: as the tasks say
    steps: Any  # () of the member so far
    time: Any  # (num_envs,) steps of the episode so far
    number: Any  # (num_envs,) episodes before it


def staged(config: Staged) -> Environment | HostEnvironment:
    """The problem."""
    if config.env not in ("", *LENGTHS):
        raise ValueError(f"env={config.env!r}: write one of {', '.join(LENGTHS)}")
    E, size = config.num_envs, 2 if config.env == "wide" else 1

    def see(time):
        return jnp.broadcast_to(time[:, None] / 10, (E, size))

    def init(key, stays=0):
        nothing = jnp.zeros(E, jnp.int32)
        return State(jnp.int32(stays), jnp.int32(0), nothing, nothing), see(nothing)

    def init_task(key, task):
        return init(key, jnp.array([LENGTHS[name] for name, _ in TASKS])[task])

    def step(state, action):
        task = jnp.where(state.steps < TASKS[0].until, LENGTHS["short"], LENGTHS["long"])
        time = state.time + 1
        ended = time == LENGTHS.get(config.env, jnp.where(state.stays > 0, state.stays, task))
        info = {"success": (state.number % 2 == 0).astype(jnp.float32)}
        state = State(state.stays, state.steps + E, jnp.where(ended, 0, time), state.number + ended)
        return state, Timestep(see(state.time), 1 + action[:, 0], jnp.zeros(E, bool), ended, see(time), info)

    views = Views(
        scene=lambda state: {"time": state.time[0], "number": state.number[0]},
        picture=lambda scene: np.full((8, 16, 3), 40 * scene["time"], np.uint8),
        text=lambda scene: f"[bold]episode[/bold] {scene['number']}\ntime {scene['time']}",
    )
    spec = Spec(jax.ShapeDtypeStruct((size,), jnp.float32), Continuous(1))
    tasks = () if config.env else TASKS
    environment = Environment(
        spec, E, config.steps, init, step, tasks=tasks, render=views, init_task=init_task if config.init_task else None
    )
    return environments.as_host(environment)._replace(tasks=tasks) if config.backend == "host" else environment


class Remembered(NamedTuple):
    now: uneven.Mean
    stored: Any  # (tasks,) the mean at the end of each
    finished: Any  # () tasks


def rememberer(config: uneven.Riser, environment: Environment | HostEnvironment, methods_for: Any) -> Agent:
    """The agent that remembers."""
    agent = uneven.riser(config, environment, methods_for)

    def init(key):
        return Remembered(agent.init(key), jnp.zeros(len(environment.tasks)), jnp.int32(0))

    def learn(state, transitions, calls):
        now, metrics = agent.learn(state.now, transitions, calls)
        return state._replace(now=now), metrics

    def end_task(state, clock):
        return Remembered(state.now, state.stored.at[clock.task].set(state.now.mean), state.finished + 1)

    def begin_task(state, clock):
        return state._replace(now=state.now._replace(mean=state.now.mean + 100.0))

    def acting_params_for(state, task):
        return jnp.where(task < state.finished, state.stored[task], state.now.mean)

    return agent._replace(
        init=init,
        acting_params=lambda state: state.now.mean,
        learn=learn,
        end_task=end_task,
        begin_task=begin_task,
        acting_params_for=acting_params_for,
        memory=lambda state, tasks: Memory(tasks, 10 * tasks),
    )


def add(patch: pytest.MonkeyPatch) -> None:
    """Lets the registry find `staged`, `rememberer`, and what `uneven` adds."""
    uneven.add(patch)
    public = {"EVALUATE": ("sampled",), "NOTES_ON_EVALUATION": (NOTE,)}
    toys.add(patch, "problems", "staged", AGENTS={"riser": {}}, Config=Staged, make=staged, **public)
    toys.add(patch, "agents", "rememberer", LEARNS_FROM="environment", Config=uneven.Riser, make=rememberer)
