"""Slippery Ant: Ant on a floor whose friction changes every two million steps."""

import dataclasses
import math
from typing import Annotated

import numpy as np

from pliant.core.problem import HostEnvironment
from pliant.core.settings import AtLeast

from ._friction import FrictionSchedule
from ._mujoco import ANT, Backend, Version, environment

AGENTS = {"ppo": {}}


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of Slippery Ant; the defaults are the paper's."""

    steps: Annotated[int, AtLeast(1)] = 20_000_000
    """Length of a run (environment steps of a member)."""
    friction_low: float = 0.02
    """Least friction coefficient between body and floor."""
    friction_high: float = 2.0
    """Largest friction coefficient; Ant's own is 1."""
    change_time: Annotated[int, AtLeast(0)] = 2_000_000
    """Steps of a member between two changes of its friction, each at the next end of an episode."""
    num_envs: Annotated[int, AtLeast(1)] = 1
    """Environments of each member, side by side; each gets a new friction at the beginning of its next episode."""
    version: Version = "v3"
    """Version of the task; v3 has 84 zeros in its observation of 111, v4 is v3 without them, v5 has contact forces."""
    backend: Backend = "auto"
    """The package that simulates; auto: gymnasium for a single environment, where it is faster, envpool for more."""


def make(config: Config) -> HostEnvironment:
    """The problem as an environment: Ant, with sliding friction drawn log-uniformly between the two limits.

    Each member has its own frictions and its own times of change, because a change waits for the end of an episode. So
    the changes are no tasks of the run, whose borders are known beforehand. `info` has the `friction` of each
    environment's episode; the agent does not observe it.

    Raises:
        ValueError: if the limits are not positive or not in order, or the package that simulates is not installed.

    Differs from the authors' code: frictions are drawn from the seed during the run; the authors read numbers of the
    same distribution from a file. A resumed run continues with its last friction; theirs begins with the first.

    References:
        Dohare et al., `Loss of plasticity in deep continual learning <https://doi.org/10.1038/s41586-024-07711-7>`_,
        Nature 2024, Fig. 3.
    """
    low, high = config.friction_low, config.friction_high
    if not 0 < low <= high < math.inf:
        raise ValueError(
            f"friction_low={low} and friction_high={high}: write two positive numbers, the lower one first"
        )

    def friction(seed: np.ndarray) -> FrictionSchedule:
        return FrictionSchedule(seed, low, high, config.change_time)

    return environment(ANT, config.version, config.backend, config.num_envs, config.steps, friction)
