"""Any task of MuJoCo: gymnasium's robots, the DeepMind Control Suite, and MetaWorld."""

import dataclasses
from typing import Annotated

import numpy as np

from pliant.core.problem import HostEnvironment, Renderer
from pliant.core.settings import AtLeast

from ._mujoco import described, renderer_of
from ._packages import Backend, Package, choose, describe, tasks

AGENTS = {"td3": {}, "sac": {}, "ppo": {}}


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
    """The package that simulates; auto: gymnasium for a single environment if it has the task, else envpool."""


def make(config: Config) -> HostEnvironment:
    """The task as an environment.

    Sizes, ranges and time limits come from the package. There are no wrappers: a step is a step of the task (without
    action repeat), and rewards and observations are not normalized. The time limit truncates an episode; only a fall
    terminates it.

    *gymnasium's robots* (HalfCheetah, Ant, Walker2d, Hopper, Humanoid, ..., `-v4` and `-v5`; `-v3` and `-v2` in envpool
    alone): actions reach the simulator unchanged. It clamps the actuators, but computes the control cost of the given
    action.

    *The DeepMind Control Suite* (`DogRun-v1`, `HumanoidWalk-v1`, ...), in envpool: the parts of an observation are
    concatenated in the suite's order. The reward of each step is from 0 to 1; an episode has 1,000 steps at the suite's
    control rate and never terminates. Quadruped's actuators have different ranges, onto which numbers from -1 to 1 are
    mapped. LQR is left out, because its actuators have no limits.

    *MetaWorld* (`MetaWorld/CoffeePull-v3`, ...), in envpool: an observation has 39 numbers, with zeros for the goal.
    Object and goal are placed at random in each episode of 500 steps. `info` has `success`, 1 if the task was solved at
    a step of the episode so far, else 0, and `success_last`, the same for the newest step.

    Raises:
        ValueError: if there is no such task, or the package that simulates is not installed.

    Differs from the authors' code: there HalfCheetah has no version, and is v4 in the gym that the code requires;
    MetaWorld is v2 with one task that is drawn at the start; time limits terminate episodes in the DeepMind Control
    Suite; and successes are summed over the steps.

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
