"""The interface of a physics engine."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np

from pliant.core.problem import Continuous

# Observations (num_envs, observation) float64, rewards float32, terminated bool, and facts, (num_envs,) each.
Answer: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray, Mapping[str, np.ndarray]]


class Description(NamedTuple):
    """A package's description of a task."""

    observation: int  # size of an observation
    action: Continuous
    time_limit: int  # steps after which an episode is truncated
    facts: tuple[str, ...] = ()  # names of facts of a step, to record


class Simulator(Protocol):
    """Environments with indices from 0: physics, rewards and falls; without a time limit, and without restarts."""

    def restart(self, which: np.ndarray, in_force: np.ndarray | None) -> np.ndarray:
        """Begins an episode in some environments; no step is in flight.

        Args:
            which: indices of the environments; at the first call, all.
            in_force: `(len(which),)` scheduled values; `None`: those of the task.

        Returns:
            Their observations, `(len(which), observation)` float64.
        """
        ...

    def send(self, action: np.ndarray) -> None:
        """Starts a step of all environments, with actions `(num_envs, action)` float64 without NaN."""
        ...

    def receive(self) -> Answer:
        """Waits for the step that `send` started, and returns its results."""
        ...

    def close(self) -> None:
        """Frees the resources of the environments."""
        ...
