"""A problem with a curriculum, in both forms, whose episodes can be told beforehand, and which can be looked at.

Episodes of `short` have 2 steps, those of `long` 4, and of `wide` 2; they are without end but for a time limit. A step
is rewarded by 1 more than its action, as in `uneven`, whose agent acts here. Every other episode is a success, from the
first on. What is seen is a tenth of the steps of an episode so far, in `wide` twice.
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

from pliant.core.clock import Task
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


class State(NamedTuple):
    steps: Any  # () of the member so far
    time: Any  # (num_envs,) steps of the episode so far
    number: Any  # (num_envs,) episodes before it


def staged(config: Staged) -> Environment | HostEnvironment:
    """The problem."""
    if config.env not in ("", *LENGTHS):
        raise ValueError(f"env={config.env!r}: write one of {', '.join(LENGTHS)}")
    E, size = 2, 2 if config.env == "wide" else 1

    def see(time):
        return jnp.broadcast_to(time[:, None] / 10, (E, size))

    def init(key):
        return State(jnp.int32(0), jnp.zeros(E, jnp.int32), jnp.zeros(E, jnp.int32)), see(jnp.zeros(E, jnp.int32))

    def step(state, action):
        task = jnp.where(state.steps < TASKS[0].until, LENGTHS["short"], LENGTHS["long"])
        time = state.time + 1
        ended = time == LENGTHS.get(config.env, task)
        info = {"success": (state.number % 2 == 0).astype(jnp.float32)}
        state = State(state.steps + E, jnp.where(ended, 0, time), state.number + ended)
        return state, Timestep(see(state.time), 1 + action[:, 0], jnp.zeros(E, bool), ended, see(time), info)

    views = Views(
        scene=lambda state: {"time": state.time[0], "number": state.number[0]},
        picture=lambda scene: np.full((8, 16, 3), 40 * scene["time"], np.uint8),
        text=lambda scene: f"[bold]episode[/bold] {scene['number']}\ntime {scene['time']}",
    )
    spec = Spec(jax.ShapeDtypeStruct((size,), jnp.float32), Continuous(1))
    tasks = () if config.env else TASKS
    environment = Environment(spec, E, config.steps, init, step, tasks=tasks, render=views)
    return environments.as_host(environment)._replace(tasks=tasks) if config.backend == "host" else environment


def add(patch: pytest.MonkeyPatch) -> None:
    """Lets the registry find `staged`, and what `uneven` adds."""
    uneven.add(patch)
    public = {"EVALUATE": ("sampled",), "NOTES_ON_EVALUATION": (NOTE,)}
    toys.add(patch, "problems", "staged", AGENTS={"riser": {}}, Config=Staged, make=staged, **public)
