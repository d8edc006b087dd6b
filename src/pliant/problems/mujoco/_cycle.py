"""Tasks that come around again and again."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np


class Change(NamedTuple):
    """How a task of a cycle differs from the robot's own."""

    paid: Callable[[float], float] = lambda velocity: velocity  # of the forward velocity (m/s)
    gravity: float = 1.0  # times the robot's own
    friction: float = 1.0  # times the robot's own: sliding, of all bodies and of the floor


TASKS = {
    "forward": Change(),
    "backward": Change(paid=lambda velocity: -velocity),
    "slow": Change(paid=lambda velocity: min(velocity, 2 - velocity)),
    "light": Change(gravity=0.5),
    "heavy": Change(gravity=1.5),
    "slippery": Change(friction=0.25),
}


class CycleSchedule:
    r"""Which task of a cycle is set to each member of a population.

    After $n$ episodes of a member, those of all its environments together, each environment that begins an episode is
    set task $\lfloor n / N \rfloor \bmod T$ of $T$, where each has $N$ episodes (a `Schedule`).

    Args:
        members: how many there are.
        tasks: $T$, the length of the cycle.
        episodes: $N$, a task's share.

    Attributes:
        name: what `info` calls the values.
        values: `(members,)`, numbers of tasks, from 0.
    """

    name = "task"

    def __init__(self, members: int, tasks: int, episodes: int):
        self._tasks, self._episodes = tasks, episodes
        self._ended = np.zeros(members, np.int64)

    @property
    def values(self) -> np.ndarray:
        """See `Schedule`."""
        return self._ended // self._episodes % self._tasks

    def episodes_ended(self, count: np.ndarray, steps: np.ndarray) -> None:
        """See `Schedule`."""
        del steps
        self._ended += count

    def save(self) -> dict[str, np.ndarray]:
        """See `Schedule`."""
        return {"episodes": self._ended.copy()}

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        """See `Schedule`."""
        self._ended[:] = saved["episodes"]
