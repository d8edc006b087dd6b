"""Any environment that is registered with gymnasium, also one of your own, with vectors as observations."""

import dataclasses
import os
from typing import Annotated

import numpy as np

from pliant.core.problem import HostEnvironment, Renderer, VectorEnv
from pliant.core.settings import AtLeast

AGENTS = {"ppo": {}, "td3": {}, "sac": {}}


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of an environment of gymnasium."""

    env: str = "CartPole-v1"
    """Name in gymnasium, such as Pendulum-v1; or my_module:MyEnv-v0, where importing my_module registers it."""
    steps: Annotated[int, AtLeast(1)] = 1_000_000
    """Length of a run (environment steps of a member)."""
    num_envs: Annotated[int, AtLeast(1)] = 1
    """Environments of each member, side by side."""


def make(config: Config) -> HostEnvironment:
    """The environment as it is registered, with its wrappers.

    Observations are vectors, and reach the agent as 32-bit numbers. Actions are one of several (`Discrete`), or vectors
    with limits (`Box`), to which the agent's numbers are clipped. If the limits differ among the numbers, or are not
    symmetric, numbers from -1 to 1 are mapped onto them. The environment truncates its episodes itself, as by the time
    limit under which it is registered. For robots of MuJoCo the problem `mujoco` is faster.

    Environments are stepped one after another. The seed of an environment is a function of its member's seed, of its
    index and of the member's steps when the environment is made.

    Raises:
        ValueError: if there is no such environment, if its observations or actions are of another kind, or if gymnasium
            is not installed.

    References:
        Towers et al., `Gymnasium: a standard interface for reinforcement learning environments
        <https://arxiv.org/abs/2407.17032>`_, 2024.
    """
    try:
        from ._environments import GymnasiumHost, describe
    except ModuleNotFoundError as error:
        raise ValueError(f"problem gymnasium needs {error.name}: pip install -e '.[envs]'") from None
    described = describe(config.env)

    def open(seed: np.ndarray) -> VectorEnv:
        return GymnasiumHost(config.env, seed, config.num_envs, described)

    def render(seed: np.ndarray) -> Renderer:
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame draws in memory, and looks for no desktop
        return GymnasiumHost(config.env, seed[None], 1, described, render_mode="rgb_array")

    can_draw = render if described.can_draw else None
    return HostEnvironment(described.spec, config.num_envs, config.steps, open, render=can_draw)
