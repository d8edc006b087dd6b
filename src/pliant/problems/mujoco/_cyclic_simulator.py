"""Robots of gymnasium whose task changes: which way to run, and in which world."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ._cycle import Change
from ._gymnasium import GymnasiumSimulator
from ._simulator import Answer

_VELOCITY = "x_velocity"


class CyclicSimulator:
    """A `Simulator` of gymnasium's robots; what is in force is the number of a task.

    Args:
        name: as in gymnasium, such as `HalfCheetah-v4`.
        num_envs: how many.
        observation: how many numbers an observation has.
        changes: the tasks.
        seed: the number of an environment to its seed.
        options: of gymnasium's environments.
    """

    def __init__(
        self,
        name: str,
        num_envs: int,
        observation: int,
        changes: tuple[Change, ...],
        seed: Callable[[int], int],
        **options: Any,
    ):
        self._robots = GymnasiumSimulator(name, num_envs, observation, seed, (_VELOCITY,), **options)
        self._changes = changes
        self._tasks = np.zeros(num_envs, np.int64)
        model = self._robots.environments[0].model
        self._gravity, self._friction = model.opt.gravity.copy(), model.geom_friction[:, 0].copy()
        # Ant of v4 has no such weight: it is paid 1 for each m/s.
        self._weight = getattr(self._robots.environments[0], "_forward_reward_weight", 1.0)

    def restart(self, which: np.ndarray, in_force: np.ndarray | None) -> np.ndarray:
        """See `Simulator`."""
        self._tasks[which] = np.asarray(in_force)
        for number in which.tolist():
            change, model = self._changes[self._tasks[number]], self._robots.environments[number].model
            model.opt.gravity[:] = change.gravity * self._gravity
            model.geom_friction[:, 0] = change.friction * self._friction
        return self._robots.restart(which, None)

    def send(self, action: np.ndarray) -> None:
        """See `Simulator`."""
        self._robots.send(action)

    def receive(self) -> Answer:
        """See `Simulator`."""
        observation, reward, terminated, told = self._robots.receive()
        for number, velocity in enumerate(told[_VELOCITY]):
            reward[number] += self._weight * (self._changes[self._tasks[number]].paid(velocity) - velocity)
        return observation, reward, terminated, {}

    def draw(self) -> np.ndarray:
        """The first environment as it is now, `(height, width, 3)` uint8."""
        return self._robots.draw()

    def close(self) -> None:
        """See `Simulator`."""
        self._robots.close()
