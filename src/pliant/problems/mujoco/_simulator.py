"""What a physics engine does for a host."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np

from pliant.core.problem import Continuous

# Observations (num_envs, observation) float64, rewards float32, terminated bool, and facts, (num_envs,) each.
Answer: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray, Mapping[str, np.ndarray]]


class Description(NamedTuple):
    """What a package says about a task."""

    observation: int  # how many numbers an observation has
    action: Continuous
    time_limit: int  # steps after which an episode is cut short
    told: tuple[str, ...] = ()  # facts of a step worth recording


class Simulator(Protocol):
    """Environments in a row, numbered from 0: physics, rewards and falls; no time limit, no restart by itself."""

    def restart(self, which: np.ndarray, in_force: np.ndarray | None) -> np.ndarray:
        """Begins an episode in some environments; they must all be at rest.

        Args:
            which: their numbers; at the first call, all of them.
            in_force: `(len(which),)`, what a schedule says for each; `None`: all is as the task has it.

        Returns:
            The observations of these, `(len(which), observation)` float64.
        """
        ...

    def send(self, action: np.ndarray) -> None:
        """Sets all environments going, with `(num_envs, action)` float64; nothing in it is NaN."""
        ...

    def receive(self) -> Answer:
        """Waits for them."""
        ...

    def close(self) -> None:
        """Frees what the environments hold."""
        ...
