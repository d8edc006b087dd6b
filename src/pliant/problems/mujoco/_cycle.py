"""Tasks that recur in a cycle."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from typing_extensions import override

from ._schedule import Schedule


class Change(NamedTuple):
    """The difference between a task of a cycle and the robot's task."""

    paid: Callable[[float], float] = lambda velocity: velocity  # the reward for a forward velocity (m/s)
    gravity: float = 1.0  # factor
    friction: float = 1.0  # factor of the sliding friction of all bodies and of the floor


TASKS = {
    "forward": Change(),
    "backward": Change(paid=lambda velocity: -velocity),
    "slow": Change(paid=lambda velocity: min(velocity, 2 - velocity)),
    "light": Change(gravity=0.5),
    "heavy": Change(gravity=1.5),
    "slippery": Change(friction=0.25),
}


class CycleSchedule(Schedule):
    r"""The current task of a cycle, for each member of a population.

    After $n$ episodes of a member, over all its environments, an episode that begins has task
    $\lfloor n / N \rfloor \bmod T$ of $T$ tasks with $N$ episodes each.

    Args:
        members: number of members.
        tasks: $T$, the length of the cycle.
        episodes: $N$, episodes of a task.
    """

    name = "task"

    def __init__(self, members: int, tasks: int, episodes: int):
        self._tasks, self._episodes = tasks, episodes
        self._ended = np.zeros(members, np.int64)

    @property
    @override
    def values(self) -> np.ndarray:
        return self._ended // self._episodes % self._tasks

    @override
    def episodes_ended(self, count: np.ndarray, steps: np.ndarray) -> None:
        del steps
        self._ended += count

    @override
    def save(self) -> dict[str, np.ndarray]:
        return {"episodes": self._ended.copy()}

    @override
    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        self._ended[:] = saved["episodes"]
