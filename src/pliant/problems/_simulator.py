"""What a physics engine does for a host."""

from typing import Protocol

import numpy as np


class Simulator(Protocol):
    """Environments in a row, numbered from 0: physics, rewards and falls; no time limit, no restart by itself."""

    def restart(self, which: np.ndarray, friction: np.ndarray | None) -> np.ndarray:
        """Begins an episode in some environments; they must all be at rest.

        Args:
            which: their numbers; at the first call, all of them.
            friction: `(len(which),)`, the friction coefficient for each; `None`: as the task has it.

        Returns:
            The observations of these, `(len(which), observation)` float64.
        """
        ...

    def send(self, action: np.ndarray) -> None:
        """Sets all environments going, with `(environments, action)` float64; nothing in it is NaN."""
        ...

    def receive(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Waits for them: `(environments, observation)` float64, and rewards float32, terminated bool."""
        ...

    def close(self) -> None:
        """Frees what the environments hold."""
        ...
