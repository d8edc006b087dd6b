"""Humanoid learns tasks in turn: gravity, the load of its body or its feet change at known steps."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

from pliant.core.problem import Environment, HostEnvironment
from pliant.core.settings import AtLeast

from ._sequence import EPISODES, Settings, environment, published_continual_settings

AGENTS: Mapping[str, Mapping[str, Any]] = {"sac": {}, "td3": {}, "ppo": {}}
RUN = {"evaluate_tasks": EPISODES}

continual_settings = published_continual_settings("humanoid")


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Settings of the sequence; the defaults are those of the published scenario hard, but for the engine."""

    scenario: str = "hard"
    task_steps: Annotated[int, AtLeast(1)] = 2_000_000


def make(config: Config) -> Environment | HostEnvironment:
    r"""The problem as an environment; see `_tasks.py` for the tasks.

    An episode terminates if the torso's height $z$ leaves $[0.8, 2.1]$ (`mujoco`: $[1, 2]$), and is truncated after
    1,000 steps of 0.015 s. At the end of a task it is cut short, and the next task begins with new episodes. The reward
    is

    $$r = \tfrac54 \dot x + 5 - \tfrac1{10} \lVert a \rVert^2$$

    with the forward velocity $\dot x$ of the centre of mass and the action $a \in \mathbb{R}^{17}$ as it reaches the
    motors.

    The engine `v1` has the physics of the published experiments and 240 observed numbers, and each
    environment begins all its episodes of a task in one state. With `mujoco` it is Humanoid-v4, with 376 numbers:
    returns of the two are not comparable.

    Raises:
        ValueError: if there is no such scenario or task, or the engine is not installed.

    References:
        Gaya et al., `Building a Subspace of Policies for Scalable Continual Learning
        <https://arxiv.org/abs/2211.10445>`_, ICLR 2023.
        Sun and Mu, Rewiring Neurons in Non-Stationary Environments, NeurIPS 2023.
    """
    return environment("humanoid", config)
