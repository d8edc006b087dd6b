"""MiniGrid DoorKey: fetch a key, unlock a door and get to the goal, in rooms that grow from task to task.

The reward is sparse: in a large room an untrained agent hardly ever gets one. The question is whether an agent that
learns in small rooms transfers to larger rooms, and to rooms of 16x16 without training in them.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from pliant.core.base import Array, Key
from pliant.core.clock import Calendar, Task
from pliant.core.notes import note
from pliant.core.problem import Discrete, Environment, HostEnvironment, Spec, Timestep, Views
from pliant.core.settings import AtLeast, require_one_of
from pliant.networks import grid_actor_critic

from ._doorkey import ACTIONS, MISSION, VIEW, WORDS, State, observe, reset, step
from ._tasks import parse
from ._views import picture, text

AGENTS: Mapping[str, Mapping[str, Any]] = {
    "ppo": {
        "horizon": 128,
        "epochs": 4,
        "minibatches": 8,
        "learning_rate": 1e-3,
        "value_clip": 0.2,
        "value_coefficient": 0.5,
        "entropy_coefficient": 0.01,
        "max_gradient_norm": 0.5,
        "normalize_advantages": "none",
        "truncation": "terminal",
        "alternate": True,
    },
    "a2c": {},
}

EVALUATE = ("sampled",)  # with the most probable actions an agent may turn around forever
NOTES_ON_EVALUATION = (
    "The published program calls the mean return success rate: of an episode of t steps that reaches the goal it is "
    "1 - 0.9 t / T, with a time limit T of 10 times the cells. Success is the fraction that reached it.",
)

SIZES = {"5x5": 5, "6x6": 6, "8x8": 8, "16x16": 16}  # cells along a side, walls included


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of DoorKey; the defaults are those of the published curriculum."""

    tasks: str = "5x5:500k,6x6:1M,8x8:2M"
    """Sizes of the rooms (5x5, 6x6, 8x8, 16x16), each with the last frame of training in it. Frames are cumulative:
    they count from the beginning of the run, over all environments of a member, so that the last number is the length
    of the run."""
    env: str = ""
    """One size for the whole run, such as 16x16; the tasks then give the run's length only. Empty: the sizes of the
    tasks."""
    num_envs: Annotated[int, AtLeast(1)] = 16
    """Environments of each member, side by side."""
    recurrent: bool = False
    """Whether the network has a recurrent state (an LSTM)."""
    text: bool = False
    """Whether the network reads the mission (a GRU), which is the same in all episodes."""
    backend: Literal["jax", "minigrid"] = "jax"
    """The simulator: this library on the device, or the package minigrid, which is far slower."""


class EnvironmentState(NamedTuple):
    environments: State  # (num_envs,) each
    frames: Array  # () int32, of all environments so far
    key: Key  # layouts come from it and from the number of frames


def make(config: Config) -> Environment | HostEnvironment:
    """The problem as an environment; see `_doorkey.py` for its rules.

    An episode has the size of the task in which it begins, also after the end of the task. `info["success"]` is 1 where
    the goal was reached.

    Raises:
        ValueError: if tasks cannot be read, if MiniGrid does not have a size, or if the backend is not installed.

    Differs from the authors' code: there each task is a separate program, which starts from the latest saved network,
    not from the last one, and whose environments restart from the same seeds.

    References:
        Chevalier-Boisvert et al., `Minigrid & Miniworld: Modular & Customizable Reinforcement Learning Environments for
        Goal-Oriented Tasks <https://arxiv.org/abs/2306.13831>`_, NeurIPS 2023.
        `Continual backpropagation on DoorKey <https://github.com/davindillon38/minigrid-continual_backprop>`_.
    """
    tasks = parse(config.tasks, tuple(SIZES))
    if config.env:
        require_one_of("env", config.env, tuple(SIZES))
        tasks = (Task(config.env, tasks[-1].until),)
    sizes = [SIZES[task.name] for task in tasks]
    if any(after <= before for before, after in itertools.pairwise(sizes)):
        note("minigrid_doorkey: not every task is larger than the one before; there is no transfer to larger rooms")
    network = grid_actor_critic(actions=ACTIONS, recurrent=config.recurrent, mission=MISSION if config.text else None)
    spec = Spec(jax.ShapeDtypeStruct((VIEW, VIEW, 3), jnp.uint8), Discrete(ACTIONS))
    if config.backend == "minigrid":
        from ._minigrid import environment

        return environment(tasks, config.num_envs, spec, network)

    E = config.num_envs
    calendar = Calendar(tasks)

    def begin(key: Key, frames: Array) -> State:
        """The first states of episodes in all environments, after `frames` frames."""
        # One draw for all environments is several times as fast as one key for each.
        bits = jax.random.bits(jax.random.fold_in(key, frames), (E, WORDS), jnp.uint32)
        size = jnp.array(sizes, jnp.int32)[calendar.task(frames)]
        return jax.vmap(reset, (0, None))(bits, size)

    def init(key: Key) -> tuple[EnvironmentState, Array]:
        frames = jnp.zeros((), jnp.int32)
        environments = begin(key, frames)
        return EnvironmentState(environments, frames, key), jax.vmap(observe)(environments)

    def advance(state: EnvironmentState, action: Array) -> tuple[EnvironmentState, Timestep]:
        after, reward, terminated, truncated = jax.vmap(step)(state.environments, action)
        ended, frames = terminated | truncated, state.frames + E
        now = jax.tree.map(lambda new, old: jnp.where(ended, new, old), begin(state.key, frames), after)
        # The new and the final observation, in one call: nearly as fast as one of them. Under `vmap` over members a
        # condition would compute both in any case.
        images = jax.vmap(observe)(jax.tree.map(lambda a, b: jnp.concatenate([a, b]), now, after))
        answer = Timestep(
            observation=images[:E],
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            final_observation=images[E:],
            info={"success": terminated.astype(jnp.float32)},
        )
        return EnvironmentState(now, frames, state.key), answer

    def scene(state: EnvironmentState) -> State:
        return jax.tree.map(lambda x: x[0], state.environments)

    return Environment(spec, E, tasks[-1].until, init, advance, network, tasks, Views(scene, picture, text))
