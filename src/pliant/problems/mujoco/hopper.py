"""Hopper: one leg of three joints learns to hop forward without falling."""

import dataclasses
from typing import Annotated

from pliant.core.problem import HostEnvironment
from pliant.core.settings import AtLeast

from ._mujoco import HOPPER, Backend, Version, environment

AGENTS = {"ppo": {}}


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of Hopper; the defaults are the paper's."""

    steps: Annotated[int, AtLeast(1)] = 100_000_000
    """Length of a run (environment steps of a member)."""
    num_envs: Annotated[int, AtLeast(1)] = 1
    """Environments of each member, side by side."""
    version: Version = "v3"
    """Version of the task; v4 is the same as v3; v5 does not pay the 1 at the step of the fall."""
    backend: Backend = "auto"
    """The package that simulates; auto: gymnasium for a single environment, where it is faster, envpool for more."""


def make(config: Config) -> HostEnvironment:
    r"""The problem as an environment.

    An episode terminates if the torso's height is 0.7 or less, if its angle is 0.2 or more to either side, or if a
    joint or a velocity is beyond 100. It is truncated after 1,000 steps of 0.008 s. The reward is

    $$r = \dot x + 1 - 10^{-3} \lVert a \rVert^2$$

    with the forward velocity $\dot x$ and the agent's action $a \in \mathbb{R}^3$, which the actuators clamp to
    $[-1, 1]$.

    Raises:
        ValueError: if the package that simulates is not installed.

    References:
        Dohare et al., `Loss of plasticity in deep continual learning <https://doi.org/10.1038/s41586-024-07711-7>`_,
        Nature 2024, Extended Data Fig. 5.
    """
    return environment(HOPPER, config.version, config.backend, config.num_envs, config.steps)
