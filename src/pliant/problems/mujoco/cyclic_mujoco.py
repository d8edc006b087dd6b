"""Cyclic MuJoCo: one robot, whose task changes in a cycle after a number of episodes."""

import dataclasses
from typing import Annotated

import jax
import numpy as np

from pliant.core import registry
from pliant.core.problem import HostEnvironment, Renderer, Spec, VectorEnv
from pliant.core.settings import AtLeast

from ._cycle import TASKS, CycleSchedule
from ._host import Seed, SimulatorHost
from ._packages import choose, describe, tasks
from ._simulator import Simulator

AGENTS = {"td3": {}, "sac": {}, "ppo": {}}

_ROBOTS = ("HalfCheetah", "Ant", "Hopper", "Walker2d", "Humanoid", "Swimmer")  # the reward has a term of the velocity


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the cycle; with HalfCheetah's 1,000 steps an episode, three rounds of one million steps each."""

    env: str = "HalfCheetah-v4"
    """The robot in gymnasium: HalfCheetah, Ant, Hopper, Walker2d, Humanoid or Swimmer, v4 or v5."""
    cycle: str = "forward,backward,light,slippery"
    """Its tasks in order: forward, backward, slow, light, heavy, slippery; a task may be listed several times."""
    episodes: Annotated[int, AtLeast(1)] = 250
    """Episodes of a task, over all environments of a member."""
    steps: Annotated[int, AtLeast(1)] = 3_000_000
    """Length of a run (environment steps of a member)."""
    num_envs: Annotated[int, AtLeast(1)] = 1
    """Environments of each member, side by side; each gets a new task at the beginning of its next episode."""


def make(config: Config) -> HostEnvironment:
    r"""The problem as an environment.

    Each task is gymnasium's task of the robot with one change. The reward of gymnasium's task has the term $w v$, with
    the forward velocity $v$ in m/s.

    - `forward`: no change;
    - `backward`: the term is $-w v$;
    - `slow`: the term is $w \min(v, 2 - v)$, with its maximum at 1 m/s;
    - `light`: half of the gravity;
    - `heavy`: one and a half times the gravity;
    - `slippery`: a quarter of the sliding friction.

    An episode keeps the task with which it began. `info` has the index of the `task` in the cycle, from 0; the agent
    does not observe it. A resumed run continues with the same task.

    The borders wait for ends of episodes: falls move them, and so does a resumed run, which restarts the episodes in
    flight. So they are no tasks of the run, whose borders are steps known beforehand, and `on_new_task` is refused.

    Raises:
        ValueError: if there is no such robot or task, or gymnasium or mujoco is not installed.

    Differs from the paper: there the cycle goes through robots, whose observations and actions have different sizes.
    One network needs one robot, so here the robot stays and its task changes. As in the paper, a task lasts for a
    number of episodes, and tasks recur.

    References:
        Liu et al., `Neuroplastic Expansion in deep reinforcement learning <https://arxiv.org/abs/2410.07994>`_,
        ICLR 2025.
    """
    names = [name.strip() for name in config.cycle.split(",")]
    for name in names:
        registry.check("task of a cycle", name, TASKS)
    changes = tuple(TASKS[name] for name in names)
    choose("gymnasium", config.num_envs)
    robots = [name for name in tasks("gymnasium") if name.split("-")[0] in _ROBOTS]
    registry.check("env", config.env, robots)
    size, action, time_limit, _ = describe("gymnasium", config.env)
    E = config.num_envs

    def open(seed: np.ndarray) -> VectorEnv:
        from ._cyclic_simulator import CyclicSimulator

        total = len(seed) * E

        def simulate(seed: Seed) -> Simulator:
            return CyclicSimulator(config.env, total, size, changes, seed)

        return SimulatorHost(seed, E, time_limit, simulate, CycleSchedule(len(seed), len(changes), config.episodes))

    def render(seed: np.ndarray) -> Renderer:
        from ._cyclic_simulator import CyclicSimulator
        from ._renderer import MujocoRenderer, choose_opengl

        choose_opengl()

        def simulate(seed: Seed) -> CyclicSimulator:
            return CyclicSimulator(config.env, 1, size, changes, seed, render_mode="rgb_array")

        return MujocoRenderer(seed[None], 1, time_limit, simulate, CycleSchedule(1, len(changes), config.episodes))

    spec = Spec(jax.ShapeDtypeStruct((size,), np.float32), action)
    return HostEnvironment(spec, E, config.steps, open, render=render)
