"""Ant: a body with four legs of two joints each learns to run; plain PPO learns it, and later forgets it."""

import dataclasses
from typing import Annotated

from pliant.core.problem import HostEnvironment
from pliant.core.settings import AtLeast

from ._mujoco import ANT, Backend, Version, environment

AGENTS = {"ppo": {}}


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of Ant; the defaults are the paper's."""

    steps: Annotated[int, AtLeast(1)] = 100_000_000
    """Length of a run (environment steps of a member; the published figures show the first half)."""
    num_envs: Annotated[int, AtLeast(1)] = 1
    """Environments of each member, side by side."""
    version: Version = "v3"
    """Version of the task; v3 has 84 zeros in its observation of 111, v4 is v3 without them, v5 has contact forces."""
    backend: Backend = "auto"
    """The package that simulates; auto: gymnasium for a single environment, where it is faster, envpool for more."""


def make(config: Config) -> HostEnvironment:
    r"""The problem as an environment.

    An episode terminates if the torso's height $z$ leaves $[0.2, 1]$, and is truncated after 1,000 steps of 0.05 s. The
    reward is

    $$r = \dot x + 1 - \tfrac12 \lVert a \rVert^2$$

    with the torso's forward velocity $\dot x$ and the agent's action $a \in \mathbb{R}^8$, which the actuators clamp to
    $[-1, 1]$. In v5 the reward has a cost of contact forces, and the 1 is paid in healthy states only.

    Raises:
        ValueError: if the package that simulates is not installed.

    References:
        Dohare et al., `Loss of plasticity in deep continual learning <https://doi.org/10.1038/s41586-024-07711-7>`_,
        Nature 2024, Fig. 4.
    """
    return environment(ANT, config.version, config.backend, config.num_envs, config.steps)
