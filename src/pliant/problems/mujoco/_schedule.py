"""What changes over the life of a member, by a plan."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np


class Schedule(Protocol):
    """Which value is in force for each member of a population; an episode keeps the one that it began with."""

    @property
    def name(self) -> str:
        """What `info` calls the values."""
        ...

    @property
    def values(self) -> np.ndarray:
        """Those now in force, `(members,)`."""
        ...

    def episodes_ended(self, count: np.ndarray, steps: np.ndarray) -> None:
        """Lets those members go on to their next value for which it is time; to be called before the next begin.

        Args:
            count: `(members,)`, how many episodes of theirs ended at this step.
            steps: `(members,)`, how many they have taken by now, those of all their environments together.
        """
        ...

    def save(self) -> dict[str, np.ndarray]:
        """What `restore` takes, `(members,)` each."""
        ...

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        """Takes back what `save` gave."""
        ...
