"""Robots of gymnasium whose task changes: the reward for the velocity, the gravity, the friction."""

from collections.abc import Callable
from typing import Any

import numpy as np
from typing_extensions import override

from ._cycle import Change
from ._gymnasium import GymnasiumSimulator
from ._simulator import Answer, Simulator

_VELOCITY = "x_velocity"


class CyclicSimulator(Simulator):
    """Gymnasium's robots with the tasks of a cycle; the scheduled value is the number of the task.

    Args:
        name: in gymnasium, such as `HalfCheetah-v4`.
        num_envs: number of environments.
        observation: size of an observation.
        changes: the tasks.
        seed: `index of an environment -> seed`.
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
        # Ant-v4 has no such weight: its reward is 1 for each m/s.
        self._weight = getattr(self._robots.environments[0], "_forward_reward_weight", 1.0)

    @override
    def restart(self, which: np.ndarray, in_force: np.ndarray | None) -> np.ndarray:
        self._tasks[which] = np.asarray(in_force)
        for number in which.tolist():
            change, model = self._changes[self._tasks[number]], self._robots.environments[number].model
            model.opt.gravity[:] = change.gravity * self._gravity
            model.geom_friction[:, 0] = change.friction * self._friction
        return self._robots.restart(which, None)

    @override
    def send(self, action: np.ndarray) -> None:
        self._robots.send(action)

    @override
    def receive(self) -> Answer:
        observation, reward, terminated, facts = self._robots.receive()
        for number, velocity in enumerate(facts[_VELOCITY]):
            reward[number] += self._weight * (self._changes[self._tasks[number]].paid(velocity) - velocity)
        return observation, reward, terminated, {}

    def draw(self) -> np.ndarray:
        """A picture of the first environment, `(height, width, 3)` uint8."""
        return self._robots.draw()

    @override
    def close(self) -> None:
        self._robots.close()
