"""Robots with edited sensors and motors."""

from typing import Any

import numpy as np
from typing_extensions import override

from pliant.problems.mujoco._simulator import Answer, Simulator


class EditedSimulator(Simulator):
    """A simulator's robots, with zeros in place of some observed numbers, and with factors of their motors.

    Args:
        simulator: of the robots.
        seen: `(observation,)`, 1 for a number that is observed, 0 for a hidden one.
        factors: `(action,)` of the actions, before the physics and before the cost of actions.
    """

    def __init__(self, simulator: Any, seen: np.ndarray, factors: np.ndarray):
        self._simulator, self._seen, self._factors = simulator, seen, factors

    @override
    def restart(self, which: np.ndarray, in_force: np.ndarray | None) -> np.ndarray:
        return self._seen * self._simulator.restart(which, in_force)

    @override
    def send(self, action: np.ndarray) -> None:
        self._simulator.send(self._factors * action)

    @override
    def receive(self) -> Answer:
        observation, reward, terminated, facts = self._simulator.receive()
        return self._seen * observation, reward, terminated, facts

    def draw(self) -> np.ndarray:
        """A picture of the first environment, `(height, width, 3)` uint8."""
        return self._simulator.draw()

    @override
    def close(self) -> None:
        self._simulator.close()
