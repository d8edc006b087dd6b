"""Ant learns tasks in turn: gravity, friction, feet or working motors change at known steps."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pliant.core.problem import Environment, HostEnvironment

from ._sequence import EPISODES, Settings, environment, published_continual_settings

AGENTS: Mapping[str, Mapping[str, Any]] = {"sac": {}, "td3": {}, "ppo": {}}
RUN = {"evaluate_tasks": EPISODES}

continual_settings = published_continual_settings("ant")


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Settings of the sequence; the defaults are those of the published scenario forgetting, but for the engine."""


def make(config: Config) -> Environment | HostEnvironment:
    r"""The problem as an environment; see `_tasks.py` for the tasks.

    An episode terminates if the torso's height $z$ leaves $[0.2, 1]$, and is truncated after 1,000 steps of 0.05 s. At
    the end of a task it is cut short, and the next task begins with new episodes. The reward is

    $$r = \dot x + 1 - \tfrac12 \lVert a \rVert^2 - c$$

    with the torso's forward velocity $\dot x$ and the action $a \in [-1, 1]^8$ as it reaches the motors: a disabled
    motor costs nothing. The cost $c$ of contacts, in the engine `v1` alone, is 0.0005 times the sum of the squared
    velocities that contacts add, each clipped to $[-1, 1]$.

    The engine `v1` has the physics of the published experiments, and each environment begins all its episodes
    of a task in one state. With `mujoco` it is Ant-v4. Both observe 27 numbers; their returns are not comparable.

    Raises:
        ValueError: if there is no such scenario or task, or the engine is not installed.

    References:
        Gaya et al., `Building a Subspace of Policies for Scalable Continual Learning
        <https://arxiv.org/abs/2211.10445>`_, ICLR 2023.
        Sun and Mu, Rewiring Neurons in Non-Stationary Environments, NeurIPS 2023.
    """
    return environment("ant", config)
