"""Any task of MuJoCo: gymnasium's robots, the DeepMind Control Suite, and MetaWorld."""

import dataclasses
from typing import Annotated

import numpy as np

from pliant.core.problem import HostEnvironment, Renderer
from pliant.core.settings import AtLeast

from ._mujoco import described, renderer_of
from ._packages import Backend, Package, choose, describe, tasks

AGENTS = {"td3": {}, "ppo": {}}


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of a task; the defaults are those of the published runs of Neuroplastic Expansion."""

    env: str = "HalfCheetah-v4"
    """Name of the task with its version, such as Humanoid-v4, DogRun-v1 or MetaWorld/CoffeePull-v3."""
    steps: Annotated[int, AtLeast(1)] = 6_000_000
    """Length of a run (environment steps of a member)."""
    num_envs: Annotated[int, AtLeast(1)] = 1
    """Environments of each member, side by side."""
    backend: Backend = "auto"
    """Which package simulates; auto: gymnasium for a single environment if it has the task, else envpool."""


def make(config: Config) -> HostEnvironment:
    """The task as an environment.

    Sizes, ranges and time limits are what the package says. No wrapper stands between: a step is one of the task's own
    (no further action repeat), rewards are as they are, observations are not normalized. Reaching the time limit
    truncates an episode; only a fall terminates it.

    *gymnasium's robots* (HalfCheetah, Ant, Walker2d, Hopper, Humanoid, ..., `-v4` and `-v5`; `-v3` and `-v2` in envpool
    alone): actions reach the simulator as they are, and it clamps the actuators, while the control cost is of the
    action itself.

    *The DeepMind Control Suite* (`DogRun-v1`, `HumanoidWalk-v1`, ...), in envpool: the parts of an observation stand
    one behind the other, in the suite's order. The reward of each step is from 0 to 1; an episode has 1,000 steps
    of the suite's control rate and never terminates. Quadruped's actuators have different ranges, onto which the
    numbers from -1 to 1 are mapped. LQR is left out, since its actuators have no limits.

    *MetaWorld* (`MetaWorld/CoffeePull-v3`, ...), in envpool: 39 numbers, of which the goal's are zeros; object and goal
    are placed again in each episode of 500 steps. `info` has the `success`: 1 if the task was solved at any step of
    the episode so far, else 0.

    Raises:
        ValueError: if there is no such task, or the package that simulates is not installed.

    Differs from the authors' code: its HalfCheetah has no version, and is v4 in the gym that it names; its MetaWorld is
    v2 with one task that is drawn at the start; there time limits are true ends in the DeepMind Control Suite, and
    successes are summed over the steps.

    References:
        Todorov et al., `MuJoCo: a physics engine for model-based control
        <https://doi.org/10.1109/IROS.2012.6386109>`_, IROS 2012.
        Tassa et al., `DeepMind Control Suite <https://arxiv.org/abs/1801.00690>`_, 2018.
        Yu et al., `Meta-World: a benchmark and evaluation for multi-task and meta reinforcement learning
        <https://arxiv.org/abs/1910.10897>`_, CoRL 2019.
        Liu et al., `Neuroplastic Expansion in deep reinforcement learning <https://arxiv.org/abs/2410.07994>`_,
        ICLR 2025.
    """
    name = config.env

    def package(num_envs: int) -> Package:
        return choose(config.backend, num_envs, name)

    description = describe(package(config.num_envs), name)
    environment = described(name, description, package, config.num_envs, config.steps)
    draw = renderer_of(name, description)

    def render(seed: np.ndarray) -> Renderer:
        choose("gymnasium", 1)
        if name not in tasks("gymnasium"):
            raise ValueError(f"env={name!r} cannot be drawn: only gymnasium's tasks can, such as HalfCheetah-v4")
        return draw(seed)

    return environment._replace(render=render)
