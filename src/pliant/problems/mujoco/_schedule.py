"""Values of environments that change with the episodes of a member, in the course of training.

They are no `Task`s: a task ends after a number of steps that is known before the run, the same for all members. These
changes wait for ends of episodes. So their steps depend on the actions of a member, and on interruptions of the run: a
resumed run restarts the episodes in flight.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np


class Schedule(Protocol):
    """The current value for each member of a population; an episode keeps the value with which it began."""

    name: str  # of the values, in `info`

    @property
    def values(self) -> np.ndarray:
        """The current values, `(members,)`."""
        ...

    def episodes_ended(self, count: np.ndarray, steps: np.ndarray) -> None:
        """Updates the values after the end of episodes; called before the next episodes begin.

        Args:
            count: `(members,)`, episodes that ended at this step.
            steps: `(members,)`, steps so far, over all environments of a member.
        """
        ...

    def save(self) -> dict[str, np.ndarray]:
        """The state to store in a checkpoint, `(members,)` each."""
        ...

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        """Restores the state of `save`."""
        ...
